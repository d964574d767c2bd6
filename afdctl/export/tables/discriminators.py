"""Table A5: accuracy of AFD with one or three layers in D_psi, with and without the projection on the label."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from afdctl.export import hints
from afdctl.export.groups import Group, grouped
from afdctl.export.tables import notes, paper
from afdctl.export.tables.attack_tables import attack_cell
from afdctl.export.tables.base import Cell, Column, Row, Table
from afdctl.recipe.schema import AFD
from afdctl.registry import DISCRIMINATORS
from afdctl.runs.record import Record

COLUMN = Column("pgd_linf", "PGD-L∞ (WB)", "share")


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build the table: three rows or more for each data set and game, by architecture."""
    groups = [group for group in grouped(records) if _architecture(group.records[0])]
    pairs = [pair for family in _families(groups) for pair in _rows(family, records, with_paper)]
    rows = tuple(row for _, row in pairs)
    return Table(
        name="A5",
        title="Accuracy (%) of AFD by the architecture of its discriminator",
        headings=("dataset", "method", "discriminator"),
        columns=(COLUMN,),
        rows=rows,
        notes=tuple(_notes(rows, [group for group, _ in pairs], records)),
    )


def _architecture(record: Record) -> str:
    """Architecture of D_psi; empty for a run without one."""
    recipe = record.recipe
    return recipe.defense.discriminator if recipe and isinstance(recipe.defense, AFD) else ""


def _families(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups of one data set and game."""
    for kind in dict.fromkeys((group.dataset, group.method) for group in groups):
        yield [group for group in groups if (group.dataset, group.method) == kind]


def _rows(family: list[Group], records: Sequence[Record], with_paper: bool) -> Iterator[tuple[Group, Row]]:
    """Yield the rows of a family in the paper's order; an architecture without a run has an empty one."""
    first = family[0]
    for architecture in DISCRIMINATORS:
        published = paper.row("tableA5", dataset=first.dataset, discriminator=architecture) if with_paper else {}
        matching = [group for group in family if _architecture(group.records[0]) == architecture]
        for group in matching or [Group(first.dataset, first.method, first.method)]:
            # the architecture distinguishes runs, unless several have the same
            shown = replace(group, label=group.label if len(matching) > 1 else first.method)
            cell = _cell(shown, first, architecture, records, published.get(COLUMN.key))
            yield shown, Row((first.dataset, shown.label, architecture.upper()), shown.names, {COLUMN.key: cell})


def _cell(group: Group, like: Group, architecture: str, records: Sequence[Record], published: float | None) -> Cell:
    """Accuracy of a group; an empty group lacks a training `like` another with this discriminator."""
    if group.records:
        return attack_cell(group, "pgd_linf", paper.linf(group.dataset, records), records, None, published)
    recipe = hints.run_word(like.records[0].run, "recipe.toml")
    training = hints.Gap(f"afdctl train {recipe} --set defense.discriminator={architecture}")
    return Cell(gaps=(training,), published=published)


def _without_discriminator(group: Group) -> str:
    """The recipe without its seed and discriminator, to compare."""
    recipe = group.records[0].recipe
    assert recipe is not None
    return recipe.model_dump_json(exclude={"seed": True, "defense": {"discriminator"}})


def _notes(rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]) -> Iterator[str]:
    epsilons = notes.epsilons_by_dataset(groups, records)
    yield f"FC1, FC3: fully connected layers. PD: projection on the label. ε: {epsilons}."
    for family in _families([group for group in groups if group.records]):
        if len({_without_discriminator(group) for group in family}) > 1:
            names = " ".join(group.names[0] for group in family)
            yield f"Recipes differ in more than the discriminator: `afdctl runs compare {names}` shows where."
    yield from notes.of_measurements([COLUMN], rows, groups)
    yield from notes.without_autoattack(rows, groups)
