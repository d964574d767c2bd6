"""What an epoch of training takes, by method, as section 5 of the paper compares it."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from afdctl.export.groups import Group, dataset_title, grouped
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Measured, Row, Table
from afdctl.runs.record import Record

TRAINING_IMAGES = {
    "digits": 1437,
    "mnist": 60_000,
    "fashion_mnist": 60_000,
    "cifar10": 50_000,
    "cifar100": 50_000,
    "tiny_imagenet": 100_000,
}
SECONDS = Column("seconds", "s / epoch", "seconds")
FASTEST = Column("fastest", "fastest", "seconds")
RATIOS = {"AT": Column("over_at", "/ AT", "ratio"), "TRADES": Column("over_trades", "/ TRADES", "ratio")}
COLUMNS = (
    SECONDS,
    *RATIOS.values(),
    FASTEST,
    Column("epochs", "epochs", "count"),
    Column("adversary", "adversary", "text"),
    Column("device", "device", "text"),
    Column("threads", "threads", "text"),
)

# seconds of each whole epoch of a run
Epochs = Mapping[Record, Sequence[float]]


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build the table; the paper's ratios, of CIFAR-10, are printed beside those of AFD on any data set."""
    groups = [group for group in grouped(records) if group.records[0].run.kind == "trained"]
    # read once: the steps of a journal are its largest part
    epochs = {record: steady_epochs(record) for group in groups for record in group.records}
    seconds = {id(group): _seconds(group, epochs) for group in groups}
    rows = tuple(_row(group, groups, seconds, epochs, with_paper) for group in groups)
    return Table(
        name="cost",
        title="Seconds of training an epoch",
        headings=("dataset", "method"),
        columns=COLUMNS,
        rows=rows,
        notes=tuple(_notes(groups, epochs)),
    )


def _row(group: Group, groups: Sequence[Group], seconds: dict[int, Cell], epochs: Epochs, with_paper: bool) -> Row:
    cells = {SECONDS.key: seconds[id(group)]}
    for method, column in RATIOS.items():
        bases = [seconds[id(one)] for one in groups if (one.dataset, one.method) == (group.dataset, method)]
        published = paper.published()["cost"][f"afd_{column.key}"] if with_paper and _of_paper(group) else None
        cells[column.key] = Cell(_ratio(seconds[id(group)], bases[:1]), published=published)
    return Row((group.dataset, group.label), group.names, cells | _conditions(group, epochs))


def _of_paper(group: Group) -> bool:
    return group.method in ("AFD-DCGAN", "AFD-WGAN")


def _ratio(cell: Cell, bases: Sequence[Cell]) -> float | None:
    base = bases[0].value if bases else None
    return cell.value / base if isinstance(cell.value, float) and isinstance(base, float) else None


def _seconds(group: Group, epochs: Epochs) -> Cell:
    return Cell.of(Measured(fmean(epochs[record])) for record in group.records if epochs[record])


def steady_epochs(record: Record) -> list[float]:
    """Seconds of each whole epoch in steps alone: without validation, saving, and the first epoch, if there are more.

    Only epochs with all attack steps count. The journal has the images a second of the steps between two of its writes.
    """
    assert record.recipe is not None
    batch, grown = record.recipe.train.batch_size, _epochs_of_growth(record)
    seen: dict[int, list[float]] = {}
    for row in record.every_row():
        if row["event"] == "step" and row["epoch"] > grown and row.get("images_per_s"):
            seen.setdefault(row["epoch"], []).append(row["images_per_s"])
    whole = [speeds for _, speeds in sorted(seen.items()) if len(speeds) == _steps_an_epoch(record)]
    training = TRAINING_IMAGES.get(record.dataset)
    seconds = []
    for speeds in whole:
        full = batch * (len(speeds) - 1)
        # a folder's size is not in the journal: its last batch counts as a full one
        last = training - record.recipe.data.holdout - full if training else batch
        seconds.append(sum(batch / speed for speed in speeds[:-1]) + min(last, batch) / speeds[-1])
    return seconds[1:] or seconds


def _epochs_of_growth(record: Record) -> int:
    assert record.recipe is not None
    return record.recipe.attack.curriculum_epochs


def _steps_an_epoch(record: Record) -> int | None:
    begun = record.of_kind("run")
    return begun[0]["steps_per_epoch"] if begun else None


def _conditions(group: Group, epochs: Epochs) -> dict[str, Cell]:
    """What the time depends on, besides the method."""
    recipe = group.records[0].recipe
    assert recipe is not None
    seconds = [duration for record in group.records for duration in epochs[record]]
    natural, steps = group.method == "NT", recipe.attack.steps
    return {
        FASTEST.key: Cell(min(seconds, default=None)),
        "epochs": Cell(len(seconds)),
        "adversary": Cell(None if natural else f"{recipe.attack.name}, {steps} step{'s' * (steps > 1)}"),
        "device": Cell(" and ".join(sorted({_device(record) for record in group.records}))),
        "threads": Cell(" and ".join(sorted({str(record.run.provenance["threads"]) for record in group.records}))),
    }


def _device(record: Record) -> str:
    facts = record.run.provenance
    return f"{facts['device']} {facts['device_name']}".strip()


def _notes(groups: Sequence[Group], epochs: Epochs) -> Iterator[str]:
    yield ("Mean over whole epochs, of steps alone: without validation, saving, and the first epoch if there are more.")
    ratios = paper.published()["cost"]
    yield (
        f"The paper: AFD / AT {ratios['afd_over_at']}, AFD / TRADES {ratios['afd_over_trades']} "
        f"(CIFAR-10, two V100 GPUs)."
    )
    grown = [record.name for group in groups for record in group.records if _epochs_of_growth(record)]
    if grown:
        yield f"Begun with a shorter attack, so that only the epochs with all attack steps count: {', '.join(grown)}."
    yield from _unsteady(epochs)
    for dataset in dict.fromkeys(group.dataset for group in groups):
        records = [record for group in groups if group.dataset == dataset for record in group.records]
        yield from _unlike(dataset, records)
    yield from notes.of_groups(groups)


def _unsteady(epochs: Epochs) -> Iterator[str]:
    """Runs whose epochs took very different times: something else was on the machine."""
    names = [
        record.name for record, seconds in epochs.items() if len(seconds) > 1 and stdev(seconds) > 0.1 * fmean(seconds)
    ]
    if names:
        yield (
            f"Epochs of one run differ by more than 10 % (one standard deviation) in {', '.join(names)}, most likely "
            f"because of other work on the machine, so the ratios are not the methods' alone. `afdctl bench RECIPE` "
            f"takes the steps in turn, which evens that out."
        )


def _unlike(dataset: str, records: Sequence[Record]) -> Iterator[str]:
    """Warnings where times of one data set cannot be compared."""
    kinds = {
        "devices": {_device(record) for record in records},
        "thread counts": {record.run.provenance["threads"] for record in records},
        "batch sizes": {record.recipe.train.batch_size for record in records if record.recipe},
        "numbers of attack steps": {
            record.recipe.attack.steps for record in records if record.recipe and record.method != "NT"
        },
        "networks": {(record.recipe.model.encoder, record.recipe.model.width) for record in records if record.recipe},
    }
    for what, values in kinds.items():
        if len(values) > 1:
            yield f"Not comparable: runs on {dataset_title(dataset)} have different {what}."
