"""Profiles: which attacks a sweep runs on a data set, read from TOML and checked before anything heavy is imported."""
