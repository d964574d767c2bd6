"""Table A1: hyperparameters of the training."""

from collections.abc import Iterator, Sequence

from afdctl.export.groups import Group, group_runs
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
# hyperparameters that other defenses do not have
AFD_ONLY = ("lr_F", "lr_D", "gp_weight")


def build(records: Sequence[Record], with_paper: bool) -> Table:
    """Build one row per recipe; a custom model has no recipe and no row."""
    groups = [group for group in group_runs(records) if group.records[0].recipe]
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
    published = paper.published_row("tableA1", dataset=group.dataset) if with_paper else {}
    if not isinstance(recipe.defense, AFD):
        published = {key: value for key, value in published.items() if key not in AFD_ONLY}
    cells = {key: Cell(value, published=_text(published.get(key))) for key, value in _values(recipe).items()}
    return Row((group.dataset, group.label), group.names, cells)


def _values(recipe: Recipe) -> dict[str, Value]:
    """Return the text of each column; None for what the defense does not have."""
    defense = recipe.defense
    afd = defense if isinstance(defense, AFD) else None
    return {
        "model": f"{recipe.model.encoder}, width {recipe.model.width}",
        "lr_F": _text(afd and afd.lr_F),
        "lr_D": _text(afd and afd.lr_D),
        "lr_C": _text(defense.lr_C),
        "weight_decay": _text(defense.weight_decay_C),
        "batch_size": _text(recipe.train.batch_size),
        "epochs": _text(recipe.train.epochs),
        "milestones": "one cycle" if recipe.train.schedule == "one_cycle" else _text(recipe.train.milestones),
        "gp_weight": _text(afd and afd.gp_weight),
    }


def _text(value: object) -> str | None:
    """Format a value as the paper's table does."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(groups: Sequence[Group], without: Sequence[str]) -> Iterator[str]:
    yield "LR_E, LR_Da, LR_EDc: the recipe's lr_F, lr_D, lr_C. Weight decay: for L_C. GP: gradient penalty weight."
    several = [f"{group.label} {len(group.records)}" for group in groups if len(group.records) > 1]
    if several:
        yield f"Runs with several seeds: {', '.join(several)}."
    if without:
        yield f"No recipe, because not trained here: {', '.join(without)}."
