"""What a run's journal holds, as tables, figures and reports need it: the training, and the results that count."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from afdctl import recipe
from afdctl.errors import CorruptError, RecipeError
from afdctl.journal import JournalOutline, Row
from afdctl.recipe.schema import AFD, Recipe
from afdctl.runs.checks import Warnings, by_network, warnings_of
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.lost_rows import RecordedProgress
from afdctl.runs.run import Run
from afdctl.runs.selection import CurveKey, selected_analyses, selected_clean, selected_curves

# The paper's terms for the defenses.
METHODS: Final = {"natural": "NT", "adversarial": "AT", "trades": "TRADES", "matching": "Matching", "afd": "AFD"}


@dataclass(frozen=True, eq=False)
class Record:
    """One run; `recipe` is None for a custom model, which was not trained here.

    `rows` are those of `outline` (None without a journal). `lost` says what the journal has lost at its end.
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
        recorded = RecordedProgress.of(run)
        outline = JournalOutline(run.journal_path) if run.journal_path.exists() else None
        rows = outline.rows if outline else []
        return cls(run=run, recipe=chosen, rows=rows, outline=outline, lost=tuple(recorded.gaps(outline)))

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
        """The paper's term for the defense: NT, AT, TRADES, AFD-DCGAN, AFD-WGAN; the name of a custom model."""
        return method_of(self.recipe, self.name)

    @property
    def group(self) -> str:
        """A digest that is equal for runs of one recipe that differ only in the seed.

        Custom models, and recipes of an image folder, are in another group if their images differ.
        """
        provenance = self.run.provenance
        model = provenance["model_digest"] if self.recipe is None else self.recipe.model_dump_json(exclude={"seed"})
        return sha256(f"{model} {self.dataset} {provenance.get('data_digest')}".encode()).hexdigest()

    @cached_property
    def curves(self) -> dict[CurveKey, RobustnessCurve]:
        """(attack, source) -> the curve of the cells that count."""
        return selected_curves(self.rows)

    @cached_property
    def analyses(self) -> dict[str, Row]:
        """Name -> the row of each analysis that counts."""
        return selected_analyses(self.rows)

    @property
    def shards(self) -> list[str]:
        """The shards of the curves, the analyses and the features."""
        rows = [*self._results, *self.of_kind("features")]
        return list(dict.fromkeys(row["shard"] for row in rows if row["shard"]))

    @cached_property
    def checks(self) -> Warnings:
        """Digest of a network -> the warnings of its newest sanity check."""
        return by_network(self.rows)

    @property
    def shown_warnings(self) -> list[str]:
        """The warnings of sanity checks that concern the curves and analyses that count."""
        return list(dict.fromkeys(line for row in self._results for line in warnings_of(row, self.checks)))

    @property
    def _results(self) -> list[Row]:
        return [*(cell for curve in self.curves.values() for cell in curve.cells), *self.analyses.values()]

    def of_kind(self, event: str) -> list[Row]:
        """Return the rows of one event: epoch, test, cell, ..."""
        return [row for row in self.rows if row["event"] == event]

    def read_rows(self, events: Collection[str] | None = None) -> Iterator[Row]:
        """Yield every row that counts, of these events, steps included, from the journal."""
        return iter(()) if self.outline is None else self.outline.read(events)

    def clean(self) -> Row | None:
        """Return the measurement whose `acc_nat` counts as clean accuracy on the test split, on `n` images."""
        return selected_clean(self.rows)


def method_of(chosen: Recipe | None, name: str) -> str:
    """Return the paper's term for the defense of a recipe; a custom model, which has none, goes by its `name`."""
    if chosen is None:
        return name
    defense = chosen.defense
    return METHODS[defense.name] + (f"-{defense.game.upper()}" if isinstance(defense, AFD) else "")
