"""Measure what a recipe costs on this machine, as ratios of times taken in turn."""
