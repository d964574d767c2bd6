"""Drawing: cells of a terminal, curves on them, and SVG."""
