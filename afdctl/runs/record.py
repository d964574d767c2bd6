"""What a run's journal holds, as tables, figures and reports need it, and the rows that it has lost.

Lost rows are detected by comparing the journal with checkpoints and results.h5.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Self

from afdctl import recipe
from afdctl.errors import CorruptError, RecipeError
from afdctl.journal import JournalOutline, Row, Steps
from afdctl.recipe.schema import Recipe
from afdctl.runs import checkpoints
from afdctl.runs.curves import RobustnessCurve
from afdctl.runs.run import KEPT, Run
from afdctl.runs.selection import (
    CurveKey,
    Warnings,
    also_measured,
    checkpoint_name,
    counting_checkpoint,
    selected_analyses,
    selected_clean,
    selected_curves,
    selected_test,
    warnings_by_network,
    warnings_of,
)


@dataclass(frozen=True)
class RecordedProgress:
    """How far a journal had come when other files were made from it: step, epochs (None: unknown), size in bytes.

    Another process may write the run meanwhile. Rows are only ever appended, and checkpoints and results.h5 are made
    from rows, so these must be read before the journal.
    """

    run: Run
    step: int
    epoch: int | None
    size: int

    @classmethod
    def of(cls, run: Run, step: int | None = None, epoch: int | None = None) -> Self:
        """Read results.h5 and, without `step`, the pointer `last`. Call it before the journal is read."""
        return cls(
            run=run,
            step=checkpoints.last_step(run) if step is None else step,
            epoch=epoch,
            size=run.results_journal_size,
        )

    def gaps(self, outline: JournalOutline | None) -> list[str]:
        """Return a sentence for each kind of rows that the journal lacks, usually none; `outline` was read later."""
        journal = self.run.journal_path
        if outline is None:
            # without a checkpoint and results.h5 there was nothing to lose
            return [f"{journal}: missing; restore it from a copy"] if self.step or self.size else []
        step = max((row["step"] for row in outline.rows if isinstance(row.get("step"), int)), default=0)
        epoch = max((row["epoch"] for row in outline.rows if row["event"] == "epoch"), default=0)
        lost = f"{journal}: its last rows are missing:"
        remedy = "restore the file from a copy, or continue without these rows"
        gaps = []
        if step < self.step:
            gaps.append(f"{lost} it ends at step {step:,}, the checkpoint is of step {self.step:,}; {remedy}")
        elif self.epoch is not None and epoch < self.epoch:
            gaps.append(
                f"{lost} it ends in epoch {epoch + 1}, the checkpoint is of the end of epoch {self.epoch}; {remedy}"
            )
        kept = f"(results.h5 has them, and is kept as {KEPT.format(size=self.size)} when it is rebuilt)"
        if outline.size > outline.end == 0 and (self.step or self.size):
            gaps = [f"{journal}: damaged, none of its rows can be read; {remedy}{f' {kept}' if self.size else ''}"]
        elif outline.end < self.size:
            gaps.append(f"{lost} it has {outline.end:,} bytes, results.h5 was made from {self.size:,}; {remedy} {kept}")
        return gaps + [
            f"{path}: has rows that events.ndjson has lost; look at it, then delete it"
            for path in sorted(self.run.path.glob(KEPT.format(size="*")))
        ]


@dataclass(frozen=True, eq=False)
class Record:
    """One run; `recipe` is None for a custom model, which was not trained here.

    `rows` are those of `outline` (None without a journal). `lost` says what the journal has lost at its end.
    `checkpoint` is the one whose results count where they exist: `best`, `last`, or the name of its file.
    """

    run: Run
    recipe: Recipe | None
    rows: list[Row]
    outline: JournalOutline | None = None
    lost: tuple[str, ...] = ()
    checkpoint: str = "best"

    @classmethod
    def of(cls, run: Run, checkpoint: str = "best") -> "Record":
        """Read the run once. Errors: CorruptError for a damaged journal or recipe."""
        try:
            chosen = recipe.loads(run.recipe_text, run.path) if run.recipe_text else None
        except RecipeError as error:
            raise CorruptError(f"{run.path}/{str(error).splitlines()[0]}; restore the file from a copy") from None
        # before the journal: a row that another process appends meanwhile must not look lost
        recorded = RecordedProgress.of(run)
        outline = JournalOutline(run.journal_path) if run.journal_path.exists() else None
        rows = outline.rows if outline else []
        lost = tuple(recorded.gaps(outline))
        return cls(run=run, recipe=chosen, rows=rows, outline=outline, lost=lost, checkpoint=checkpoint)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def dataset(self) -> str:
        return str(self.run.provenance["dataset"]) if self.recipe is None else self.recipe.dataset

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

        Custom models, and recipes of a user's images, are in another group if their images differ.
        """
        provenance = self.run.provenance
        model = provenance["model_digest"] if self.recipe is None else self.recipe.model_dump_json(exclude={"seed"})
        images = f"{provenance.get('data_digest')} {provenance.get('extra_digest')}"
        return sha256(f"{model} {self.dataset} {images}".encode()).hexdigest()

    @cached_property
    def curves(self) -> dict[CurveKey, RobustnessCurve]:
        """(attack, source) -> the curve of the cells that count."""
        return selected_curves(self.rows, self.checkpoint)

    @cached_property
    def other_curves(self) -> dict[str, dict[CurveKey, RobustnessCurve]]:
        """`best` or `last` -> the curves of that checkpoint, where it was attacked too but does not count."""
        others = also_measured(self.rows, "cell", self.checkpoint)
        return {name: selected_curves(self.rows, digest) for name, digest in others.items()}

    @cached_property
    def analyses(self) -> dict[str, Row]:
        """Name -> the row of each analysis that counts."""
        return selected_analyses(self.rows, self.checkpoint)

    @cached_property
    def other_analyses(self) -> dict[str, dict[str, Row]]:
        """`best` or `last` -> the analyses of that checkpoint, where it was analysed too but does not count."""
        others = also_measured(self.rows, "analysis", self.checkpoint)
        return {name: selected_analyses(self.rows, digest) for name, digest in others.items()}

    def checkpoint_name(self, event: str) -> str:
        """Return the name of the checkpoint whose cells or analyses count; without any, the one asked for."""
        digest = counting_checkpoint(self.rows, event, self.checkpoint)
        return checkpoint_name(self.rows, digest or self.checkpoint)

    @property
    def shards(self) -> list[str]:
        """The shards of the curves and analyses of all checkpoints, and of the features."""
        others = [cell for curves in self.other_curves.values() for curve in curves.values() for cell in curve.cells]
        others += [row for analyses in self.other_analyses.values() for row in analyses.values()]
        rows = [*self._results, *others, *self.of_kind("features")]
        return list(dict.fromkeys(row["shard"] for row in rows if row["shard"]))

    @cached_property
    def checks(self) -> Warnings:
        """Digest of a network -> the warnings of its newest sanity check."""
        return warnings_by_network(self.rows)

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

    def read_blocks(self, events: Collection[str]) -> Iterator[Steps | Row]:
        """Yield what `read_rows` does, but consecutive steps with the same fields as one block."""
        return iter(()) if self.outline is None else self.outline.read_blocks(events)

    def clean(self) -> Row | None:
        """Return the measurement whose `acc_nat` counts as clean accuracy on the test split, on `n` images."""
        return selected_clean(self.rows, self.checkpoint)

    def test(self) -> Row | None:
        """Return the test at the end of the training: of the network whose attacks count."""
        return selected_test(self.rows, self.checkpoint)


def method_of(chosen: Recipe | None, name: str) -> str:
    """Return the paper's term for the defense of a recipe; a custom model, which has none, goes by its `name`."""
    if chosen is None:
        return name
    return chosen.method


def lost_rows(run: Run, step: int | None = None, epoch: int | None = None) -> list[str]:
    """Return a sentence for each kind of rows that a run's journal has lost. Errors: those of `JournalOutline`.

    `step` and `epoch` are those of a checkpoint, by default the one that `last` names.
    """
    progress = RecordedProgress.of(run, step, epoch)
    return progress.gaps(JournalOutline(run.journal_path) if run.journal_path.exists() else None)


def verify_finished(run: Run) -> list[str]:
    """Verify the checkpoints of a finished run, and write results.h5, which a full disk may have prevented.

    Returns warnings of what was repaired. Error: CorruptError.
    """
    from afdctl.runs import results_file  # imports h5py, which a list of runs does without

    warnings = checkpoints.repair_best(run, JournalOutline(run.journal_path).rows)
    checkpoints.verify_pointed(run)
    results_file.build(run)
    return warnings
