"""afdctl: train adversarially robust image classifiers from the terminal."""

__version__ = "0.1.0"
