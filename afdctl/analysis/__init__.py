"""Analyses of a run's network on its test split: what a training did to the features."""
