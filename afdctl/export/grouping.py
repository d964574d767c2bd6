"""Which runs belong together: several seeds of one recipe, in the paper's order of methods."""

from collections.abc import Iterable

from afdctl.store.record import Record

METHODS = ("NT", "AT", "TRADES", "AFD-DCGAN", "AFD-WGAN")
"""The paper's, in its order."""


def span(numbers: Iterable[int]) -> str:
    """How many: `360`, or `500 to 10,000` where they differ; empty for none."""
    known = sorted(set(numbers))
    return " to ".join(f"{number:,}" for number in (known[:1] + known[1:][-1:]))


def by_recipe(records: Iterable[Record]) -> list[tuple[Record, ...]]:
    """The runs of each recipe, in the order of the first."""
    together: dict[str, list[Record]] = {}
    for record in records:
        together.setdefault(record.group, []).append(record)
    return [tuple(runs) for runs in together.values()]


def label(runs: tuple[Record, ...], *, alone: bool) -> str:
    """The method, with a run's name where it is not `alone`: several recipes have the same method."""
    first = runs[0]
    return first.method if alone or first.method == first.name else f"{first.method} ({first.name})"


def method_place(label: str) -> tuple[bool, int]:
    """The paper's methods first and in its order; a model of one's own last."""
    known = [*METHODS, "AFD-HINGE", "Matching"]
    method = label.partition(" ")[0]
    return method not in known, known.index(method) if method in known else 0
