"""The state of a run, derived from its journal, and of the machine."""
