"""Tables A4 and A5 of the appendix: dimensions of the features, discriminators."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from afdctl.export.groups import (
    Gap,
    Group,
    analysis_gap,
    dataset_title,
    group_runs,
    method_rank,
    quote_run,
    table_groups,
)
from afdctl.export.tables import notes, paper
from afdctl.export.tables.attack_tables import attack_cell
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.export.tables.paired_notes import PGD, paired_notes
from afdctl.export.tables.paper import Measurement, checkpoint_of
from afdctl.recipe.defenses import AFD
from afdctl.registry import DISCRIMINATORS
from afdctl.runs.record import Record

# metric -> the analysis that computes it
ANALYSES: Final = {"units": "units", "dims": "pca"}
ROBUST: Final = Column("pgd_linf", "PGD-L∞ (WB)", "share")


def table_a4(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table A4 in the paper's layout: one row per method, two columns per data set."""
    groups = table_groups(records, with_paper)
    rows = [_feature_row(group, with_paper) for group in groups]
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    columns = tuple(
        Column(f"{dataset}_{metric}", f"{dataset_title(dataset)} {metric}", "count")
        for dataset in datasets
        for metric in ANALYSES
    )
    return Table(
        name="A4",
        title=(
            "Features that are non-zero for some test image (units), and principal components that explain 99 % of "
            "the variance (dims)"
        ),
        headings=("method",),
        columns=columns,
        rows=_by_method(rows, columns),
        notes=tuple(_feature_notes(rows, groups)),
    )


def _feature_row(group: Group, with_paper: bool) -> Row:
    """Build the units and dims of one data set and method."""
    published = paper.of_method("tableA4", group.dataset, group.method) if with_paper else {}

    def missing(record: Record) -> Gap:
        return analysis_gap(record, *ANALYSES.values())

    cells = {key: Cell.of_group(group, partial(_measure_feature, key), missing, published.get(key)) for key in ANALYSES}
    return Row((group.dataset, group.label), group.names, cells)


def _by_method(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Join the rows of one label over all data sets, in the paper's order."""
    by_method = []
    for label in sorted(dict.fromkeys(row.labels[1] for row in rows), key=method_rank):
        of_label = [row for row in rows if row.labels[1] == label]
        cells = {f"{row.labels[0]}_{metric}": cell for row in of_label for metric, cell in row.cells.items()}
        names = tuple(name for row in of_label for name in row.runs)
        by_method.append(Row((label,), names, {column.key: cells.get(column.key, Cell()) for column in columns}))
    return tuple(by_method)


def _measure_feature(metric: str, record: Record) -> Measurement | None:
    row = record.analyses.get(ANALYSES[metric])
    if row is None:
        return None
    images = {"n": row["n"], "subset": row.get("subset")}
    return Measurement(row["metrics"][metric], **images, seed=row["seed"], checkpoint=checkpoint_of(record, row))


def _feature_notes(rows: Sequence[Row], groups: Sequence[Group]) -> Iterator[str]:
    # rows of single data sets, before they are joined by method
    columns = [Column(metric, metric, "count") for metric in ANALYSES]
    yield from notes.of_measurements(columns, rows, groups)
    sizes = dict.fromkeys(
        f"{dataset_title(record.dataset)} {record.analyses['pca']['metrics']['features']}"
        for group in groups
        for record in group.records
        if "pca" in record.analyses
    )
    if sizes:
        yield f"Features in total: {', '.join(sizes)}."


def table_a5(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table A5: at least one row per architecture for each data set and variant of AFD."""
    groups = [group for group in group_runs(records) if _architecture(group.records[0])]
    pairs = [pair for family in _families(groups) for pair in _discriminator_rows(family, records, with_paper)]
    rows = tuple(row for _, row in pairs)
    return Table(
        name="A5",
        title="Accuracy (%) of AFD by discriminator architecture",
        headings=("dataset", "method", "discriminator"),
        columns=(ROBUST,),
        rows=rows,
        notes=tuple(_discriminator_notes(rows, [group for group, _ in pairs], records)),
    )


def _architecture(record: Record) -> str:
    """Return the architecture of D_psi; empty for a run without one."""
    recipe = record.recipe
    return recipe.defense.discriminator if recipe and isinstance(recipe.defense, AFD) else ""


def _families(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Yield the groups of each data set and variant of AFD."""
    for kind in dict.fromkeys((group.dataset, group.method) for group in groups):
        yield [group for group in groups if (group.dataset, group.method) == kind]


def _discriminator_rows(
    family: list[Group], records: Sequence[Record], with_paper: bool
) -> Iterator[tuple[Group, Row]]:
    """Yield the rows of a family in the paper's order; an architecture without a run has an empty row."""
    first = family[0]
    for architecture in DISCRIMINATORS:
        published = (
            paper.published_row("tableA5", dataset=first.dataset, discriminator=architecture) if with_paper else {}
        )
        matching = [group for group in family if _architecture(group.records[0]) == architecture]
        for group in matching or [Group(first.dataset, first.method, first.method)]:
            # the architecture distinguishes the rows, unless several runs have the same
            labelled = replace(group, label=group.label if len(matching) > 1 else first.method)
            cell = _discriminator_cell(labelled, first, architecture, records, published.get(ROBUST.key))
            yield labelled, Row((first.dataset, labelled.label, architecture.upper()), group.names, {ROBUST.key: cell})


def _discriminator_cell(
    group: Group, sibling: Group, architecture: str, records: Sequence[Record], published: float | None
) -> Cell:
    """Measure a group; an empty one lacks a training with the sibling's recipe and this discriminator."""
    if group.records:
        return attack_cell(
            group,
            "pgd_linf",
            epsilon=paper.linf_epsilon(group.dataset, records),
            records=records,
            source=None,
            published=published,
        )
    recipe = quote_run(sibling.records[0].run, "recipe.toml")
    training = Gap(f"afdctl train {recipe} --set defense.discriminator={architecture}")
    return Cell(gaps=(training,), published=published)


def _without_discriminator(group: Group) -> str:
    """Return the recipe without its seed and discriminator, for comparison."""
    recipe = group.records[0].recipe
    assert recipe is not None
    # what remains must be equal, or the rows do not measure the discriminator alone
    return recipe.model_dump_json(exclude={"seed": True, "defense": {"discriminator"}})


def _discriminator_notes(rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]) -> Iterator[str]:
    epsilons = notes.epsilons_by_dataset(groups, records)
    yield f"FC1, FC3: one or three fully connected layers. PD: label projection. ε: {epsilons}."
    for family in _families([group for group in groups if group.records]):
        if len({_without_discriminator(group) for group in family}) > 1:
            names = " ".join(group.names[0] for group in family)
            yield f"Recipes differ in more than the discriminator. See `afdctl runs compare {names}`."
    yield from notes.of_measurements([ROBUST], rows, groups)
    yield from notes.without_autoattack(rows, groups)
    yield from paired_notes(groups, (PGD,), records)
