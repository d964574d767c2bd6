"""The paper's figures and those of the analyses, drawn with matplotlib's objects: no pyplot, no global settings."""
