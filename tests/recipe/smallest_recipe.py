"""The smallest valid recipe, and the type of the fixture that writes recipe files."""

from collections.abc import Callable

Write = Callable[..., str]
SMALLEST = """\
[data]
dataset = "digits"
[model]
encoder = "lenet"
[defense]
name = "afd"
[attack]
epsilon = 0.1
[train]
epochs = 2
"""
