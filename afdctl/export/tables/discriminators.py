"""Table A5: accuracy of AFD by the architecture of D_psi: one or three layers, with and without label projection."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from afdctl.export.groups import Gap, Group, group_runs, quote_run
from afdctl.export.tables import notes, paper
from afdctl.export.tables.attack_tables import attack_cell
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.recipe.schema import AFD
from afdctl.registry import DISCRIMINATORS
from afdctl.runs.record import Record

COLUMN = Column("pgd_linf", "PGD-L∞ (WB)", "share")


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build the table: at least one row per architecture for each data set and variant of AFD."""
    groups = [group for group in group_runs(records) if _architecture(group.records[0])]
    pairs = [pair for family in _families(groups) for pair in _rows(family, records, with_paper)]
    rows = tuple(row for _, row in pairs)
    return Table(
        name="A5",
        title="Accuracy (%) of AFD by discriminator architecture",
        headings=("dataset", "method", "discriminator"),
        columns=(COLUMN,),
        rows=rows,
        notes=tuple(_notes(rows, [group for group, _ in pairs], records)),
    )


def _architecture(record: Record) -> str:
    """Return the architecture of D_psi; empty for a run without one."""
    recipe = record.recipe
    return recipe.defense.discriminator if recipe and isinstance(recipe.defense, AFD) else ""


def _families(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Yield the groups of each data set and variant of AFD."""
    for kind in dict.fromkeys((group.dataset, group.method) for group in groups):
        yield [group for group in groups if (group.dataset, group.method) == kind]


def _rows(family: list[Group], records: Sequence[Record], with_paper: bool) -> Iterator[tuple[Group, Row]]:
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
            cell = _cell(labelled, first, architecture, records, published.get(COLUMN.key))
            yield labelled, Row((first.dataset, labelled.label, architecture.upper()), group.names, {COLUMN.key: cell})


def _cell(group: Group, sibling: Group, architecture: str, records: Sequence[Record], published: float | None) -> Cell:
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
    return recipe.model_dump_json(exclude={"seed": True, "defense": {"discriminator"}})


def _notes(rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]) -> Iterator[str]:
    epsilons = notes.epsilons_by_dataset(groups, records)
    yield f"FC1, FC3: one or three fully connected layers. PD: label projection. ε: {epsilons}."
    for family in _families([group for group in groups if group.records]):
        if len({_without_discriminator(group) for group in family}) > 1:
            names = " ".join(group.names[0] for group in family)
            yield f"Recipes differ in more than the discriminator. See `afdctl runs compare {names}`."
    yield from notes.of_measurements([COLUMN], rows, groups)
    yield from notes.without_autoattack(rows, groups)
