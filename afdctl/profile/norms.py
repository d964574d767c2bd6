"""Norms as people write them."""

from collections.abc import Mapping
from typing import Final

NORMS: Final[Mapping[str, str]] = {"linf": "L∞", "l2": "L2", "l1": "L1"}
