"""From values to cells of a terminal, and to pictures of them."""
