"""A run's network as a file of another library, and the check that it still is that network."""
