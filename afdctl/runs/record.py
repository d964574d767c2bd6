"""A run's journal as tables, figures and reports read it: what was trained, and what counts of what was measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from afdctl import recipe
from afdctl.errors import CorruptError, RecipeError
from afdctl.journal import Row
from afdctl.recipe.schema import AFD, Recipe
from afdctl.runs.checks import Warnings, by_network, warnings_of
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.journal_reader import JournalOutline
from afdctl.runs.lost_rows import Reached
from afdctl.runs.run import Run
from afdctl.runs.selection import CurveKey, selected_analyses, selected_clean, selected_curves

METHODS = {"natural": "NT", "adversarial": "AT", "trades": "TRADES", "matching": "Matching", "afd": "AFD"}


@dataclass(frozen=True, eq=False)
class Record:
    """One run; `recipe` is None for a model of one's own, which was not trained here.

    `rows` are those of its journal that count, without most training steps: see `Outline`, which `outline` is. `lost`
    says what the journal has lost at its end.
    """

    run: Run
    recipe: Recipe | None
    rows: list[Row]
    outline: JournalOutline | None = None
    lost: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: Run) -> "Record":
        """Read the run once. Errors: CorruptError for a damaged journal or recipe."""
        try:
            chosen = recipe.loads(run.recipe_text) if run.recipe_text else None
        except RecipeError as error:
            raise CorruptError(f"{run.path}/{str(error).splitlines()[0]}; restore the file from a copy") from None
        reached = Reached.of(run)
        outline = JournalOutline(run.journal_path) if run.journal_path.exists() else None
        return cls(run, chosen, outline.rows if outline else [], outline, tuple(reached.lost(outline)))

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def dataset(self) -> str:
        return str(self.run.provenance["dataset"]) if self.recipe is None else self.recipe.data.dataset

    @property
    def seed(self) -> int:
        return self.recipe.seed if self.recipe else 0

    @property
    def method(self) -> str:
        """The paper's word for its defense: NT, AT, TRADES, AFD-DCGAN, AFD-WGAN; a model of one's own has its name."""
        return method_of(self.recipe, self.name)

    @property
    def group(self) -> str:
        """The same for runs of one recipe that differ in nothing but the seed: they are one row, mean and deviation.

        A model of one's own, or a recipe of a folder, that meets other images is another group.
        """
        facts = self.run.provenance
        of = facts["model_digest"] if self.recipe is None else self.recipe.model_dump_json(exclude={"seed"})
        return sha256(f"{of} {self.dataset} {facts.get('data_digest')}".encode()).hexdigest()

    @cached_property
    def curves(self) -> dict[CurveKey, RobustnessCurve]:
        """Map (attack, source) to the curve of the cells that count."""
        return selected_curves(self.rows)

    @cached_property
    def analyses(self) -> dict[str, Row]:
        """Name -> the row of each analysis that counts."""
        return selected_analyses(self.rows)

    @property
    def shards(self) -> list[str]:
        """The shards that the curves, the analyses and the features lie in."""
        cells = [cell for curve in self.curves.values() for cell in curve.cells]
        rows = [*cells, *self.analyses.values(), *self.of_kind("features")]
        return list(dict.fromkeys(row["shard"] for row in rows if row["shard"]))

    def of_kind(self, event: str) -> list[Row]:
        """The rows of one event: epoch, test, cell, ..."""
        return [row for row in self.rows if row["event"] == event]

    @cached_property
    def checks(self) -> Warnings:
        """Digest of a network -> what its newest check says against its numbers."""
        return by_network(self.rows)

    @property
    def shown_warnings(self) -> list[str]:
        """The warnings that concern what the run shows: its curves and analyses."""
        rows = [*(cell for curve in self.curves.values() for cell in curve.cells), *self.analyses.values()]
        return list(dict.fromkeys(line for row in rows for line in warnings_of(row, self.checks)))

    def every_row(self) -> Iterator[Row]:
        """All rows that count, steps too, read from the journal as they are wanted."""
        return iter(self.outline or ())

    def clean(self) -> Row | None:
        """The measurement whose `acc_nat` counts as clean accuracy on the test split, on `n` images."""
        return selected_clean(self.rows)


def method_of(chosen: Recipe | None, name: str) -> str:
    """The paper's term for the defense of a recipe; a custom model, which has none, goes by its `name`."""
    if chosen is None:
        return name
    defense = chosen.defense
    return METHODS[defense.name] + (f"-{defense.game.upper()}" if isinstance(defense, AFD) else "")
