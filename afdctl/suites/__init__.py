"""Attack suites: named sets of attacks with epsilon grids, read from TOML and validated without importing torch."""
