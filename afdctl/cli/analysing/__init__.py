"""What `afdctl analyze` does, in parts: the work, what is told of it, tables and plots."""
