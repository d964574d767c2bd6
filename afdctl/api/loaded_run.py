"""A run as Python code reads it: its recipe and its results as tables."""

from collections.abc import Collection
from typing import Any

from afdctl.export import raw
from afdctl.recipe import Recipe
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.runs.summary import RunSummary

Table = list[dict[str, Any]]


class LoadedRun(Run):
    """A run on disk. Each table is a list of rows that `pandas.DataFrame` takes, read when it is asked for.

    So a run that is being trained shows more each time. Results of attacks and analyses are those that count (see
    `docs/scripting.md`); accuracies are in [0, 1].
    """

    @property
    def recipe(self) -> Recipe | None:
        """The resolved recipe; None for a custom model, which was not trained here."""
        return Record.of(self).recipe

    @property
    def summary(self) -> dict[str, Any]:
        """The run in one row: what `afdctl runs ls --json` prints of it."""
        return RunSummary.of(Record.of(self)).as_json()

    def metrics(self, events: Collection[str] = raw.TRAINING_EVENTS) -> Table:
        """Return a row for each step, epoch and test of the training, in order, without those that a resume replaced.

        `event` says which of them a row is, and decides its other columns; docs/journal.md lists them.
        """
        return list(raw.Events([Record.of(self)], events))

    def cells(self) -> Table:
        """Return a row for each attack and epsilon that was measured; `shown` marks those that count."""
        return raw.cells([Record.of(self)])

    def analyses(self) -> dict[str, dict[str, Any]]:
        """Return the metrics of each analysis that counts, by its name."""
        return {name: row["metrics"] for name, row in Record.of(self).analyses.items()}
