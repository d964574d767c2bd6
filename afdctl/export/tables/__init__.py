"""The paper's tables, built from runs."""
