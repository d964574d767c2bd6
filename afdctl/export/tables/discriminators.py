"""Table A5: accuracy of AFD with one or three layers in D_psi, with and without the projection on the label."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from afdctl.export.tables import attacks, beside, nominal, notes, paper
from afdctl.export.tables.groups import Group, grouped
from afdctl.export.tables.missing import Need, word
from afdctl.export.tables.names import dataset_title
from afdctl.export.tables.table import Cell, Column, Row, Table
from afdctl.profile.grid import name_of
from afdctl.recipe.schema import AFD
from afdctl.registry import DISCRIMINATORS
from afdctl.store.record import Record

COLUMN = Column("pgd_linf", "PGD-L∞ (WB)", "share")


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """For each data set and game three rows, each of a run or with what makes it."""
    groups = [group for group in grouped(records) if _architecture(group.records[0])]
    made = [pair for family in _families(groups) for pair in _rows(family, records, with_paper)]
    rows = tuple(row for _, row in made)
    title = "Accuracy (%) of AFD by the architecture of its discriminator"
    notes_of = tuple(_notes(rows, [group for group, _ in made], records))
    return Table("A5", title, ("dataset", "method", "discriminator"), (COLUMN,), rows, notes_of)


def _architecture(record: Record) -> str:
    """The kind of D_psi; empty for what has none."""
    recipe = record.recipe
    return recipe.defense.discriminator if recipe and isinstance(recipe.defense, AFD) else ""


def _families(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups of one data set and game."""
    for kind in dict.fromkeys((group.dataset, group.method) for group in groups):
        yield [group for group in groups if (group.dataset, group.method) == kind]


def _rows(family: list[Group], records: Sequence[Record], with_paper: bool) -> Iterator[tuple[Group, Row]]:
    """Three rows or more, in the paper's order; what has no run is like the first but for its discriminator."""
    first = family[0]
    for architecture in DISCRIMINATORS:
        known = paper.row("tableA5", dataset=first.dataset, discriminator=architecture) if with_paper else {}
        fitting = [one for one in family if _architecture(one.records[0]) == architecture]
        for group in fitting or [_absent(first, architecture, records, with_paper)]:
            # the architecture tells runs apart, unless several have the same
            shown = replace(group, label=group.label if len(fitting) > 1 else first.method)
            cell = _measured(shown, records, known)
            yield shown, Row((first.dataset, shown.label, architecture.upper()), shown.names, {COLUMN.key: cell})


def _measured(group: Group, records: Sequence[Record], known: dict[str, float]) -> Cell:
    epsilon = nominal.linf(group.dataset, records)
    measure = partial(attacks.white_box, attack="pgd_linf", epsilon=epsilon)
    need = partial(attacks.sweep, attack="pgd_linf", epsilon=epsilon, records=records)
    return group.cell(measure, need, known.get(COLUMN.key))


def _absent(like: Group, architecture: str, records: Sequence[Record], with_paper: bool) -> Group:
    need = _missing(like, architecture, records, with_paper)
    return Group(like.dataset, like.method, like.method, needs=(need,))


def _missing(like: Group, architecture: str, records: Sequence[Record], with_paper: bool) -> Need:
    """The table with a run of that discriminator which nobody named, or the training of one."""
    for other in beside.unnamed(records):
        if (other.dataset, other.method, _architecture(other)) == (like.dataset, like.method, architecture):
            return beside.naming(other, records, "A5", with_paper)
    run = like.records[0].run
    name = f"{run.name}_{architecture.replace('-', '')}"
    options = ("--set", f"defense.discriminator={architecture}", "--name", shlex.quote(name))
    return Need("train", word(run, "recipe.toml"), "", options)


def _all_else(group: Group) -> str:
    """The recipe but for its seed and its discriminator."""
    recipe = group.records[0].recipe
    assert recipe is not None
    return recipe.model_dump_json(exclude={"seed": True, "defense": {"discriminator"}})


def _notes(rows: Sequence[Row], groups: Sequence[Group], records: Sequence[Record]) -> Iterator[str]:
    datasets = dict.fromkeys(group.dataset for group in groups)
    used = [f"{dataset_title(dataset)} {name_of(nominal.linf(dataset, records))}" for dataset in datasets]
    yield f"FC1, FC3: fully connected layers. PD: projection on the label. ε: {'; '.join(used)}."
    for family in _families([group for group in groups if group.records]):
        if len({_all_else(group) for group in family}) > 1:
            names = " ".join(group.names[0] for group in family)
            yield f"Recipes differ in more than the discriminator: `afdctl runs compare {names}` shows where."
    yield from notes.of_figures([COLUMN], rows, groups)
    yield from notes.without_autoattack(rows, groups)
