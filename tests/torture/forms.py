"""The two forms of each torture test: a few trials in the default run, many with `pytest -m torture`."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

SHARE = float(os.environ.get("AFDCTL_TORTURE_SHARE", "1"))
"""How much of the full form is done."""


def forms(cases: Iterable[Any], few: Mapping[Any, int], many: int) -> list[Any]:
    """Parameters `case, number`: the short form of the cases in `few`, and the full form of all."""
    return [
        form
        for case in cases
        for name in ["-".join(case) if isinstance(case, tuple) else case]
        for form in [
            *([pytest.param(case, few[case], id=f"{name}-short")] if case in few else []),
            pytest.param(case, max(1, round(many * SHARE)), id=f"{name}-full", marks=pytest.mark.torture),
        ]
    ]
