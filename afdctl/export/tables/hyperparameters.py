"""Table A1: what the runs were trained with."""

from collections.abc import Iterator, Sequence

from afdctl.export.groups import Group, grouped
from afdctl.export.tables import paper
from afdctl.export.tables.base import Cell, Column, Row, Table, Value
from afdctl.recipe.schema import AFD, Recipe
from afdctl.runs.record import Record

COLUMNS = (
    Column("model", "Model", "text"),
    Column("lr_F", "LR_E", "text"),
    Column("lr_D", "LR_Da", "text"),
    Column("lr_C", "LR_EDc", "text"),
    Column("weight_decay", "Weight decay", "text"),
    Column("batch_size", "Batch size", "text"),
    Column("epochs", "# Epochs", "text"),
    Column("milestones", "Scheduled epochs", "text"),
    Column("gp_weight", "GP", "text"),
)


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build one row per recipe; a custom model has none and no row."""
    groups = [group for group in grouped(records) if group.records[0].recipe]
    rows = tuple(_row(group, with_paper) for group in groups)
    notes = tuple(_notes(groups, [record.name for record in records if record.recipe is None]))
    return Table(
        name="A1",
        title="Hyperparameters of the training",
        headings=("dataset", "method"),
        columns=COLUMNS,
        rows=rows,
        notes=notes,
    )


def _row(group: Group, with_paper: bool) -> Row:
    recipe = group.records[0].recipe
    assert recipe is not None
    known = paper.row("tableA1", dataset=group.dataset) if with_paper else {}
    has_game = isinstance(recipe.defense, AFD)
    published = {key: value for key, value in known.items() if has_game or key not in ("lr_F", "lr_D", "gp_weight")}
    cells = {key: Cell(value, published=_text(published.get(key))) for key, value in _values(recipe).items()}
    return Row((group.dataset, group.label), group.names, cells)


def _values(recipe: Recipe) -> dict[str, Value]:
    """Key -> text; None for what a defense does not have."""
    defense = recipe.defense
    game = defense if isinstance(defense, AFD) else None
    return {
        "model": f"{recipe.model.encoder}, width {recipe.model.width}",
        "lr_F": _text(game and game.lr_F),
        "lr_D": _text(game and game.lr_D),
        "lr_C": _text(defense.lr_C),
        "weight_decay": _text(defense.weight_decay_C),
        "batch_size": _text(recipe.train.batch_size),
        "epochs": _text(recipe.train.epochs),
        "milestones": "one cycle" if recipe.train.schedule == "one_cycle" else _text(recipe.train.milestones),
        "gp_weight": _text(game and game.gp_weight),
    }


def _text(value: object) -> str | None:
    """A value as the paper's table has it."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(groups: Sequence[Group], without: Sequence[str]) -> Iterator[str]:
    yield "LR_E, LR_Da, LR_EDc: the recipe's lr_F, lr_D, lr_C. Weight decay: that of L_C. GP: gradient penalty."
    several = [f"{group.label} {len(group.records)}" for group in groups if len(group.records) > 1]
    if several:
        yield f"Runs of one recipe with several seeds: {', '.join(several)}."
    if without:
        yield f"Not trained here, so without a recipe: {', '.join(without)}."
