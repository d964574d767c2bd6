"""Many trainings: the cells of a grid, one after the other, as a search, or on a cluster."""
