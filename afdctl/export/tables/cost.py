"""Training time per epoch by method, as section 5 of the paper compares it."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from afdctl.export.groups import Group, dataset_title, group_runs
from afdctl.export.tables import notes, paper
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.export.tables.paper import Measurement
from afdctl.runs.provenance import precisions_of
from afdctl.runs.record import Record
from afdctl.training_text import format_precisions

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

# seconds of each complete epoch of a run
EpochSeconds = Mapping[Record, Sequence[float]]


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build the table. The paper's ratios are for CIFAR-10, and printed with AFD's on any data set."""
    groups = [group for group in group_runs(records) if group.records[0].run.kind == "trained"]
    # read once: the steps are the largest part of a journal
    epochs = {record: steady_epochs(record) for group in groups for record in group.records}
    means = [(group, _mean_seconds(group, epochs)) for group in groups]
    rows = []
    for group, seconds in means:
        cells = {SECONDS.key: seconds} | _ratios(group, seconds, means, with_paper) | _conditions(group, epochs)
        rows.append(Row((group.dataset, group.label), group.names, cells))
    return Table(
        name="cost",
        title="Training time per epoch",
        headings=("dataset", "method"),
        columns=COLUMNS,
        rows=tuple(rows),
        notes=tuple(_notes(groups, epochs)),
    )


def _mean_seconds(group: Group, epochs: EpochSeconds) -> Cell:
    return Cell.mean_of({record: Measurement(fmean(epochs[record])) for record in group.records if epochs[record]})


def _ratios(group: Group, seconds: Cell, means: Sequence[tuple[Group, Cell]], with_paper: bool) -> dict[str, Cell]:
    """Divide a group's time by that of AT and of TRADES on the same data set."""
    cells = {}
    for method, column in RATIOS.items():
        # the first of several recipes of a method, in the order of the rows
        bases = [base.value for other, base in means if (other.dataset, other.method) == (group.dataset, method)]
        base = bases[0] if bases else None
        ratio = seconds.value / base if isinstance(seconds.value, float) and isinstance(base, float) else None
        is_published = with_paper and group.method in ("AFD-DCGAN", "AFD-WGAN")
        published = paper.published()["cost"][f"afd_{column.key}"] if is_published else None
        cells[column.key] = Cell(ratio, published=published)
    return cells


def steady_epochs(record: Record) -> list[float]:
    """Return the seconds of each complete epoch, in training steps alone.

    Validation and saving are excluded, as are the first epoch, if there are more, and epochs with fewer attack steps.
    A step's images per second in the journal are averaged over the steps between two writes.
    """
    assert record.recipe is not None
    batch_size, curriculum_epochs = record.recipe.train.batch_size, _curriculum_epochs(record)
    speeds_by_epoch: dict[int, list[float]] = {}
    for row in record.read_rows(["step"]):
        if row["epoch"] > curriculum_epochs and row.get("images_per_s"):
            speeds_by_epoch.setdefault(row["epoch"], []).append(row["images_per_s"])
    run_rows = record.of_kind("run")
    steps_per_epoch = run_rows[0]["steps_per_epoch"] if run_rows else None
    # an epoch that a stop or a resume divided has fewer steps in the journal
    complete = [speeds for _, speeds in sorted(speeds_by_epoch.items()) if len(speeds) == steps_per_epoch]
    seconds = []
    for speeds in complete:
        last = min(batch_size, run_rows[0]["images"]["train"] - batch_size * (len(speeds) - 1))
        seconds.append(sum(batch_size / speed for speed in speeds[:-1]) + last / speeds[-1])
    # the first epoch also compiles and fills caches
    return seconds[1:] or seconds


def _curriculum_epochs(record: Record) -> int:
    """Return the number of first epochs that use fewer attack steps."""
    assert record.recipe is not None
    return record.recipe.attack.within(record.recipe.train.epochs).curriculum_epochs


def _conditions(group: Group, epochs: EpochSeconds) -> dict[str, Cell]:
    """Return the columns of what the time depends on besides the method."""
    recipe = group.records[0].recipe
    assert recipe is not None
    seconds = [duration for record in group.records for duration in epochs[record]]
    steps = recipe.attack.steps
    adversary = None if group.method == "NT" else f"{recipe.attack.name}, {steps} step{'s' * (steps > 1)}"
    return {
        FASTEST.key: Cell(min(seconds, default=None)),
        "epochs": Cell(len(seconds)),
        "adversary": Cell(adversary),
        "device": Cell(" and ".join(sorted({_device(record) for record in group.records}))),
        "threads": Cell(" and ".join(sorted({str(record.run.provenance["threads"]) for record in group.records}))),
    }


def _device(record: Record) -> str:
    provenance = record.run.provenance
    return f"{provenance['device']} {provenance['device_name']}".strip()


def _precisions(record: Record) -> str:
    assert record.recipe is not None
    return format_precisions(precisions_of(record.run.provenance, record.recipe))


def _notes(groups: Sequence[Group], epochs: EpochSeconds) -> Iterator[str]:
    yield (
        "Mean over complete epochs of the time in training steps; validation, saving and the first of several epochs "
        "are excluded."
    )
    ratios = paper.published()["cost"]
    yield (
        f"The paper reports AFD / AT {ratios['afd_over_at']} and AFD / TRADES {ratios['afd_over_trades']} "
        f"(CIFAR-10, two V100 GPUs)."
    )
    curriculum = [record.name for group in groups for record in group.records if _curriculum_epochs(record)]
    if curriculum:
        names = ", ".join(curriculum)
        yield f"Trained with fewer attack steps at first; only epochs with all attack steps count: {names}."
    yield from _unsteady(epochs)
    for dataset in dict.fromkeys(group.dataset for group in groups):
        records = [record for group in groups if group.dataset == dataset for record in group.records]
        yield from _not_comparable(dataset, records)
    yield from notes.of_groups(groups)


def _unsteady(epochs: EpochSeconds) -> Iterator[str]:
    """Yield a note on runs whose epochs took very different times."""
    names = [
        record.name for record, seconds in epochs.items() if len(seconds) > 1 and stdev(seconds) > 0.1 * fmean(seconds)
    ]
    if names:
        yield (
            f"The standard deviation over the epochs of a run exceeds 10 % in {', '.join(names)}, probably because of "
            f"other work on the machine, which distorts the ratios. `afdctl bench RECIPE` measures the steps in turn, "
            f"which cancels most of it."
        )


def _not_comparable(dataset: str, records: Sequence[Record]) -> Iterator[str]:
    """Yield a note for each condition that differs between runs on one data set."""
    conditions = {
        "devices": {_device(record) for record in records},
        "thread counts": {record.run.provenance["threads"] for record in records},
        "precisions": {_precisions(record) for record in records if record.recipe and record.method != "NT"},
        "batch sizes": {record.recipe.train.batch_size for record in records if record.recipe},
        "numbers of attack steps": {
            record.recipe.attack.steps for record in records if record.recipe and record.method != "NT"
        },
        "networks": {record.recipe.model.size for record in records if record.recipe},
    }
    for condition, values in conditions.items():
        if len(values) > 1:
            yield f"Not comparable: runs on {dataset_title(dataset)} have different {condition}."
