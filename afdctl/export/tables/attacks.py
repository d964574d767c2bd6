"""Figures of attacks: found in a run's curves, or what makes them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from afdctl.events import Row
from afdctl.export.tables import beside, nominal, trained
from afdctl.export.tables.measured import Measured, at
from afdctl.export.tables.missing import Need, word
from afdctl.profile.grid import name_of
from afdctl.store.record import Record

TEST_IMAGES = {"digits": 360} | dict.fromkeys(
    ("mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"), 10_000
)


def white_box(record: Record, attack: str, epsilon: float) -> Measured | None:
    """Accuracy under an attack that knows the model."""
    return at(record, record.curves.get((attack, None), []), epsilon)


def transferred(record: Record, attack: str, epsilon: float, method: str, records: Sequence[Record]) -> Measured | None:
    """Accuracy on images made against a run of another method, of those given and of the same seed where there are."""
    given = {one.name: one for one in sources(record, method, records)}
    found: list[tuple[bool, bool, int, float, Measured]] = []
    for (name, source), curve in record.curves.items():
        if name == attack and source is not None and _is_of(record.run.path.resolve().parent / source, method):
            like = given.get(source)
            figure = at(record, curve, epsilon)
            if figure:
                same_seed = like is not None and like.seed == record.seed
                found.append((like is not None, same_seed, curve[0]["n"], max(row["t"] for row in curve), figure))
    return max(found, key=lambda one: one[:4])[4] if found else None


def sources(record: Record, method: str, records: Sequence[Record]) -> list[Record]:
    """The given runs of a method that images may be made against, those of the run's own seed first."""
    fitting = [
        one
        for one in records
        if (one.dataset, one.method) == (record.dataset, method) and one.run.path.resolve() != record.run.path.resolve()
    ]
    return sorted(fitting, key=lambda one: one.seed != record.seed)


def sweep(
    record: Record, attack: str, records: Sequence[Record], epsilon: float | None = None, source: Record | None = None
) -> Need | None:
    """The sweep that makes a missing figure, on as many images as the others; a half run goes on to its end first.

    `epsilon` is the one that is wanted, where not a whole curve is. None: nothing to be done about it now.
    """
    if trained.unfinished(record):
        return trained.resumption(record)
    options = ["--from", word(source.run)] if source else []
    options += ["--profile", "paper-A2"]
    if epsilon is not None and not nominal.on_grid(record.dataset, attack, epsilon):
        options += ["--epsilons", f"0,{name_of(epsilon)}"]
    return Need("sweep", word(record.run), attack, (*options, *alike(record, records, _fullest_cell)))


def transfer(record: Record, attack: str, epsilon: float, method: str, records: Sequence[Record]) -> Need | None:
    """The transfer that makes a missing figure, or the training of the run that its images come from.

    Where no run given will do, one that lies beside them does.
    """
    against = sources(record, method, records) or sources(record, method, beside.unnamed(records))
    if not against:
        return trained.training(record.dataset, method)
    return sweep(record, attack, records, epsilon, against[0])


def alike(record: Record, records: Sequence[Record], fullest: Callable[[Record], Row | None]) -> list[str]:
    """Options that make a new figure comparable with those that are there: of the run, else of its data set.

    `fullest` finds in a run what was measured in the same way, on the most images.
    """
    like = fullest(record) or next(
        filter(None, (fullest(one) for one in records if one.dataset == record.dataset)), None
    )
    if like is None:
        return []
    limit = [] if like["n"] >= TEST_IMAGES.get(record.dataset, 0) > 0 else ["--limit", str(like["n"])]
    return limit + (["--seed", str(like["seed"])] if like["seed"] else [])


def _fullest_cell(record: Record) -> Row | None:
    cells = [cell for curve in record.curves.values() for cell in curve]
    return max(cells, key=lambda cell: (cell["n"], cell["t"]), default=None)


def _is_of(path: Path, method: str) -> bool:
    found = beside.at(path)
    return found is not None and found.method == method
