"""`--search optuna`: propose the settings to train, by the hold-out accuracy of those that are trained.

The study is in memory and is made again from the runs on disk, so the search has no storage beside them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf, prod
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from afdctl import recipe
from afdctl.cluster.cells import DIVERGED, CellRun, end_of
from afdctl.errors import AfdctlError, RecipeError
from afdctl.recipe.grid import Axis, Cell, Grid, Range
from afdctl.runs.folders import name_stem
from afdctl.runs.provenance import flattened
from afdctl.runs.ranking import Candidate, decides_measurement
from afdctl.runs.record import Record
from afdctl.runs.run import Run

# A search over few values proposes known settings again; it ends after this many in a row.
MOST_REPEATS: Final = 100
# Proposed numbers are rounded, so that a recipe can be read and typed.
DIGITS: Final = 4

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trial:
    """Settings, and the runs that train them, one for each seed."""

    settings: Settings
    cells: Sequence[CellRun]

    def value(self) -> float | None:
        """Return the mean accuracy on the hold-out in [0, 1], 0 for a diverged seed; None if a seed is missing."""
        values = [_accuracy(cell.run) for cell in self.cells]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None


class Search:
    """Proposes `trials` settings of a grid, those that are trained already among them."""

    def __init__(self, grid: Grid, seeds: Sequence[int], root: Path, trials: int) -> None:
        for axis in grid.axes:
            if decides_measurement(axis.key):
                raise RecipeError(
                    f"--search: {axis.key} decides how a network is measured on the hold-out, so its values cannot be "
                    "compared there; use --grid without --search"
                )
        optuna = _optuna()
        self.grid, self.seeds, self.root, self.trials = grid, seeds, root, trials
        self.distributions = {axis.key: _distribution(axis, optuna) for axis in grid.axes}
        self.first = [(axis.key, axis.values[0] if axis.values else _low(axis.range)) for axis in grid.axes]
        # every value and key is checked before anything is trained
        grid.cell(self.first)
        self.recipe_values = {axis.key: self._values_of(axis) for axis in grid.axes if not axis.range}
        self.known = {trial.settings: trial for trial in self._trials_on_disk()}
        # another seed for each beginning, so that it does not propose the same settings again; a constant liar takes
        # settings that are being trained for bad ones, so that it does not propose their neighbours
        sampler = optuna.samplers.TPESampler(seed=len(self.known), constant_liar=True)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in self.known.values():
            self.study.add_trial(
                optuna.trial.create_trial(
                    params=self._params(trial.settings), distributions=self.distributions, value=trial.value()
                )
            )

    def batches(self, trials: int = 1) -> Iterator[list[CellRun]]:
        """Yield the cells of trained trials, then of `trials` new ones at a time.

        The caller makes all of them exist before it asks again.
        """
        yield [cell for trial in self.known.values() for cell in trial.cells]
        proposals = self._proposals()
        while asked := list(islice(proposals, trials)):
            yield [cell for _, settings in asked for cell in self.known[settings].cells]
            for proposed, settings in asked:
                self._tell(proposed, settings)

    def _proposals(self) -> Iterator[tuple[Any, Settings]]:
        """Yield new settings with the study's own record of them, until there are enough trials or no new ones."""
        repeats, most = 0, min(self.trials, prod(_count(axis) for axis in self.grid.axes))
        while len(self.known) < most and repeats < MOST_REPEATS:
            proposed = self.study.ask(self.distributions)
            settings = tuple((axis.key, _text(proposed.params[axis.key], axis.range)) for axis in self.grid.axes)
            if settings in self.known:
                repeats += 1
                self._tell(proposed, settings)
            else:
                repeats = 0
                self.known[settings] = self._trial(settings)
                yield proposed, settings

    def _tell(self, proposed: Any, settings: Settings) -> None:
        value = self.known[settings].value()
        # one that another process trains, or that failed, is proposed no more
        self.study.tell(proposed, value, state=None if value is not None else _optuna().trial.TrialState.FAIL)

    def _trial(self, settings: Settings) -> Trial:
        seeds: list[Settings] = [(("seed", str(seed)), *settings) for seed in self.seeds]
        cells = [self.grid.cell(one) for one in seeds or [settings]]
        return Trial(settings, [CellRun.of(cell, self.root, self.grid.recipe) for cell in cells])

    def _trials_on_disk(self) -> Iterator[Trial]:
        """Yield the trials whose runs have ended. The name of a run proves that its recipe is one of this search."""
        found: set[Settings] = set()
        for run in Run.all(self.root) if self.root.is_dir() else []:
            if not run.name.startswith(name_stem(Path(self.grid.recipe).stem)) or not end_of(run):
                continue
            settings = self._settings_of(run)
            if settings is None or settings in found:
                continue
            found.add(settings)
            trial = self._trial(settings)
            if run.name in {cell.run.name for cell in trial.cells} and trial.value() is not None:
                yield trial

    def _settings_of(self, run: Run) -> Settings | None:
        """Return the settings that a run's recipe has; None if this search cannot propose them."""
        try:
            values = flattened(recipe.loads(run.recipe_text, run.path).model_dump(mode="json"))
        except AfdctlError:
            return None
        settings = []
        for axis in self.grid.axes:
            value = values.get(axis.key)
            if axis.range:
                if not isinstance(value, int | float) or not axis.range.low <= value <= axis.range.high:
                    return None
                settings.append((axis.key, _text(value, axis.range)))
            else:
                texts = [text for text, known in self.recipe_values[axis.key].items() if known == value]
                if not texts:
                    return None
                settings.append((axis.key, texts[0]))
        return tuple(settings)

    def _values_of(self, axis: Axis) -> dict[str, Any]:
        """Return what the recipe holds for each value of an axis."""
        cells: dict[str, Cell] = {
            text: self.grid.cell([(key, text if key == axis.key else value) for key, value in self.first])
            for text in axis.values
        }
        return {text: flattened(cell.recipe.model_dump(mode="json")).get(axis.key) for text, cell in cells.items()}

    def _params(self, settings: Settings) -> dict[str, Any]:
        ranges = {axis.key: axis.range for axis in self.grid.axes}
        return {
            key: text if not (span := ranges[key]) else int(text) if span.is_whole else float(text)
            for key, text in settings
        }


def _distribution(axis: Axis, optuna: Any) -> Any:
    span = axis.range
    if span is None:
        return optuna.distributions.CategoricalDistribution(axis.values)
    if span.is_whole:
        return optuna.distributions.IntDistribution(int(span.low), int(span.high), log=span.is_log)
    return optuna.distributions.FloatDistribution(span.low, span.high, log=span.is_log)


def _count(axis: Axis) -> float:
    """Return how many values an axis has."""
    if axis.range is None:
        return len(axis.values)
    return axis.range.high - axis.range.low + 1 if axis.range.is_whole else inf


def _low(span: Range | None) -> str:
    assert span
    return str(int(span.low) if span.is_whole else span.low)


def _text(value: Any, span: Range | None) -> str:
    """Return a proposed or recorded value as text; a float rounded unless that leaves its range."""
    if span is None or span.is_whole:
        return str(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return repr(rounded if span.low <= rounded <= span.high else value)


def _accuracy(run: Run) -> float | None:
    end = end_of(run)
    if end and end.word == DIVERGED:
        return 0.0
    candidate = Candidate.of(Record.of(run)) if end else None
    return candidate.accuracy if candidate else None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise RecipeError("--search optuna: needs optuna; pip install 'afdctl[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
