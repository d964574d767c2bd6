"""Comparisons of afdctl with other code; see README.md."""
