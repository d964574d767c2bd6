"""Measure what a recipe costs on this machine; steps to compare are timed in turn."""
