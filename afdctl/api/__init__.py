"""The Python API: what a notebook or a script calls. `afdctl/__init__.py` names it, docs/api.md describes it.

Each function does what the command of its name does, by the same code, and raises the exceptions of `afdctl.errors`.
Nothing is printed unless `progress` is true; a function as `progress` receives each row that goes into the journal.
"""
