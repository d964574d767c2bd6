"""Table A1: hyperparameters of the training."""

from collections.abc import Iterator, Sequence
from typing import Final

from afdctl.export.groups import Group, group_runs
from afdctl.export.tables import paper
from afdctl.export.tables.base import Cell, Column, Row, Table, Value
from afdctl.recipe.schema import Recipe, Train
from afdctl.runs.record import Record

HYPERPARAMETERS: Final = (
    Column("model", "Model", "text"),
    Column("lr_F", "LR_E", "text"),
    Column("lr_D", "LR_Da", "text"),
    Column("lr_C", "LR_EDc", "text"),
    Column("weight_decay", "Weight decay", "text"),
    Column("batch_size", "Batch size", "text"),
    Column("epochs", "# Epochs", "text"),
    Column("milestones", "Scheduled epochs", "text"),
    Column("gp_weight", "GP", "text"),
    Column("classify", "L_C on", "text"),
    Column("batch_statistics", "Batch statistics", "text"),
    Column("ema_decay", "EMA", "text"),
    Column("epsilon_warmup", "ε warm-up", "text"),
)
# hyperparameters that not every defense has
OPTIONAL: Final = ("lr_F", "lr_D", "gp_weight")
# the images that L_C is computed on, by the key `classify`
CLASSIFIED: Final = {"clean": "x", "adversarial": "x'", "both": "x and x'"}


def table_a1(records: Sequence[Record], with_paper: bool) -> Table:
    """Build Table A1: one row per recipe; a custom model has no recipe and no row."""
    groups = [group for group in group_runs(records) if group.records[0].recipe]
    return Table(
        name="A1",
        title="Hyperparameters of the training",
        headings=("dataset", "method"),
        columns=HYPERPARAMETERS,
        rows=tuple(_recipe_row(group, with_paper) for group in groups),
        notes=tuple(_recipe_notes(groups, [record.name for record in records if record.recipe is None])),
    )


def _recipe_row(group: Group, with_paper: bool) -> Row:
    recipe = group.records[0].recipe
    assert recipe is not None
    published = paper.published_row("tableA1", dataset=group.dataset) if with_paper else {}
    lacks = [key for key in OPTIONAL if not hasattr(recipe.defense, key)]
    published = {key: value for key, value in published.items() if key not in lacks}
    cells = {key: Cell(value, published=_text(published.get(key))) for key, value in _values(recipe).items()}
    return Row((group.dataset, group.label), group.names, cells)


def _values(recipe: Recipe) -> dict[str, Value]:
    """Return the text of each column; None for what the defense does not have."""
    defense = recipe.defense
    # a warm-up that is longer than the training ends with it
    attack = recipe.attack.within(recipe.train.epochs)
    return {
        "model": recipe.model.size.replace(recipe.model.encoder, recipe.encoder, 1),
        **{key: _text(getattr(defense, key, None)) for key in OPTIONAL},
        "lr_C": _text(defense.lr_C),
        "weight_decay": _text(defense.weight_decay_C),
        "batch_size": _text(recipe.train.batch_size),
        "epochs": _text(recipe.train.epochs),
        "milestones": _schedule(recipe.train),
        "classify": CLASSIFIED.get(getattr(defense, "classify", "")) or recipe.descriptor.classified or None,
        "batch_statistics": getattr(defense, "batch_statistics", None),
        "ema_decay": _text(recipe.train.ema_decay or None),
        "epsilon_warmup": None if not recipe.descriptor.attacked else _text(attack.epsilon_warmup_epochs or None),
    }


def _schedule(train: Train) -> str | None:
    shape = _text(train.milestones) if train.schedule == "milestones" else train.schedule.replace("_", " ")
    # not the default of one cycle, which its name implies
    return f"{shape}, warm-up {train.warmup_fraction:.0%}" if train.warmup_fraction else shape


def _text(value: object) -> str | None:
    """Format a value as the paper's table does."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _recipe_notes(groups: Sequence[Group], without: Sequence[str]) -> Iterator[str]:
    yield "LR_E, LR_Da, LR_EDc: the recipe's lr_F, lr_D, lr_C. Weight decay: for L_C. GP: gradient penalty weight."
    yield (
        "L_C on: natural images x, adversarial images x' or both (the recipe's classify). Batch statistics of x "
        "and x' in BatchNorm: separate or joint. EMA: decay of the moving "
        "average of the weights. ε warm-up: epochs until ε is reached."
    )
    several = [f"{group.label} {len(group.records)}" for group in groups if len(group.records) > 1]
    if several:
        yield f"Several runs of one recipe: {', '.join(several)}."
    if without:
        yield f"No recipe, because not trained here: {', '.join(without)}."
