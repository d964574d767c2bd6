"""The training loop: epochs of steps, validation, checkpoints, the final test. All it tells goes to the journal."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import torch

from afdctl import registry
from afdctl.data import Dataset
from afdctl.data.loader import Sampler, Split, hold_out
from afdctl.defenses.base import Defense
from afdctl.errors import AfdctlError, DivergedError, NotFoundError, StoppedError, compile_failure, out_of_memory
from afdctl.interrupts import StopRequests, catch_signals
from afdctl.journal import SCHEMA, Journal
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Evaluation
from afdctl.runs import checkpoints, results_file
from afdctl.runs.run import Run
from afdctl.training.adversary import Adversary
from afdctl.training.cost_estimate import cost_event
from afdctl.training.ema import ExponentialMovingAverage
from afdctl.training.evaluate import Accuracy, evaluate
from afdctl.training.metric_buffer import MetricBuffer, first_divergence
from afdctl.training.performance import apply_performance_settings
from afdctl.training.rng import TrainingRNG, make_generator, seeded_init
from afdctl.training.schedule import Schedule, ineffective_settings


class Trainer:
    """One run in training. `state_dict` is all that decides how it goes on, at any step."""

    def __init__(self, run: Run, recipe: Recipe, source: Dataset, device: torch.device, journal: Journal) -> None:
        self.run, self.recipe, self.device, self.journal = run, recipe, device, journal
        self.streams = TrainingRNG(recipe.seed, device)
        training, held_out = hold_out(source.train, recipe.data.holdout, recipe.seed)
        self.held_out, self.test_split = Split(held_out, device), Split(source.test, device)
        self.notes = source.notes
        with seeded_init(recipe.seed):
            channels, image_size = self.test_split.x.shape[1:3]
            network = build(
                **recipe.model.model_dump(), channels=channels, image_size=image_size, classes=len(source.classes)
            )
            self.network = network.to(device)
            apply_performance_settings(self.network, recipe.train)
            self.adversary = Adversary(self.network, recipe.attack, self.streams.attack)
            self.defense: Defense = registry.load(registry.DEFENSES, recipe.defense.name)(
                recipe.defense, self.network, self.adversary, len(source.classes), self.streams.noise
            )
        self.average = ExponentialMovingAverage(self.network, recipe.train.average) if recipe.train.average else None
        self.sampler = Sampler(
            Split(training, device),
            recipe.train.batch_size,
            recipe.data.augment,
            self.streams.shuffle,
            self.streams.augment,
        )
        self.schedule = Schedule(recipe, self.sampler.steps_per_epoch)
        self.meter = MetricBuffer()
        self.requests = StopRequests()
        self.step = 0
        self.best: dict[str, Any] = {}
        self.saved_at = time.monotonic()
        self.results = results_file.Builder(run)

    @property
    def evaluated(self) -> FeatureClassifier:
        """The network that is validated, tested and later attacked."""
        return self.average.network if self.average else self.network

    def state_dict(self) -> dict[str, Any]:
        state = {
            "step": self.step,
            "best": self.best,
            "defense": self.defense.state_dict(),
            "sampler": self.sampler.state_dict(),
            "streams": self.streams.state_dict(),
        }
        return state | ({"average": self.average.network.state_dict()} if self.average else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.best = state["step"], state["best"]
        self.defense.load_state_dict(state["defense"])
        self.streams.load_state_dict(state["streams"])
        self.sampler.load_state_dict(state["sampler"])
        if self.average:
            self.average.network.load_state_dict(state["average"])

    def totals(self) -> dict[str, int]:
        """How long the whole training is."""
        epochs, steps_per_epoch = self.recipe.train.epochs, self.sampler.steps_per_epoch
        return {"epochs": epochs, "steps_per_epoch": steps_per_epoch, "steps_total": epochs * steps_per_epoch}

    def announce(self, provenance: Mapping[str, Any], best: bool = False) -> None:
        """Write the journal's first line, a checkpoint of step 0 and, now that it can be resumed, run.json."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self.journal.append(
            "run",
            schema=SCHEMA,
            name=self.run.name,
            recipe=self.recipe.model_dump(mode="json"),
            **self.totals(),
            device=str(self.device),
            parameters=parameters,
            classes=self.network.C_phi.out_features,
            images={"train": len(self.sampler.split), "holdout": len(self.held_out), "test": len(self.test_split)},
        )
        for message in [*self.notes, *ineffective_settings(self.recipe, self.device, self.test_split.x.shape[2])]:
            self.journal.append("warning", step=self.step, message=message)
        self.save_checkpoint(best)
        self.run.complete(provenance)
        self.results.build_if_due()

    def foretell(self) -> None:
        """Write down what a step costs and how fast it could be, counted on a copy: streams and weights stay alone."""
        classes, shape = self.network.C_phi.out_features, self.test_split.x.shape[1:]
        self.journal.append("cost", step=self.step, **cost_event(self.recipe, shape, classes, self.device))

    def train(self) -> None:
        """Go on to the end of the recipe and test. Errors: StoppedError, DivergedError, DiskFullError."""
        self.foretell()
        while self.sampler.epoch < self.recipe.train.epochs:
            self.train_epoch()
            self.close_epoch()
        self.test()

    def train_epoch(self) -> None:
        """The rest of the present epoch."""
        self.network.train()
        self.meter.restart()
        while self.sampler.batch < self.sampler.steps_per_epoch:
            self.train_step()
            if len(self.meter) >= self.recipe.train.report_every:
                self.write(self.meter.arrived())
            self.obey()

    def train_step(self) -> None:
        """One batch; its figures stay on the device until the next report."""
        x, y = self.sampler.next()
        self.defense.set_lr_factor(self.schedule.lr_factor(self.step))
        self.adversary.table = self.schedule.attack(self.step)
        report = self.defense.step(x, y)
        self.step += 1
        if self.average:
            self.average.update(self.step)
        row = {"event": "step", "step": self.step, "epoch": self.sampler.epoch + 1, **self.defense.learning_rates()}
        if self.schedule.varies:
            row |= {"attack_steps": self.adversary.table.steps, "progress": self.schedule.progress(self.step)}
        self.meter.add(row, len(y), report)

    def report(self) -> None:
        """Write all rows that are not written yet, which waits for the device."""
        self.write(self.meter.flush())

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Put rows of steps into the journal; DivergedError where a loss is not a number."""
        try:
            self.journal.extend(rows)
        finally:
            # first of all: whatever else goes wrong while the rows are written, such weights are not saved
            if diverged := first_divergence(rows):
                step, name = diverged
                raise DivergedError(
                    f"{self.run.path}: {name} is not finite at step {step}; the last good checkpoint is kept; "
                    f"lower the rates (lr_C, lr_D, lr_F) and train again"
                )

    def obey(self) -> None:
        """Do what a signal asked for, and save when the last checkpoint is old."""
        if self.requests.stop:
            self.report()
            self.requests.obey(f"go on with `afdctl train --resume {self.run.path}`")
        if self.requests.save or time.monotonic() - self.saved_at > 60 * self.recipe.train.save_minutes:
            self.requests.save = False
            self.save()

    def close_epoch(self) -> None:
        """Validate on the hold-out and save."""
        self.report()
        began = time.monotonic()
        row: dict[str, Any] = {"epoch": self.sampler.epoch + 1, "step": self.step}
        if len(self.held_out):
            row |= self.evaluate(self.evaluated, self.held_out, self.recipe.validation, "validation").row()
        is_best = self.recipe.train.select == "last" or not self.best or selection_key(row) > selection_key(self.best)
        if is_best:
            self.best = row
        self.journal.append("epoch", **row, best=is_best, seconds=round(time.monotonic() - began, 3))
        self.sampler.start_epoch()
        self.save(best=is_best)

    def evaluate(self, network: FeatureClassifier, split: Split, table: Evaluation, purpose: str) -> Accuracy:
        """Accuracies with random starts that are the same each time; a signal ends it."""
        generator = make_generator(self.recipe.seed, purpose, self.device)
        return evaluate(network, split, table, self.recipe.attack, generator, self.obey)

    def test(self) -> None:
        """Measure the last and the best checkpoint on the test split."""
        accuracy = self.evaluate(self.evaluated, self.test_split, self.recipe.test, "test")
        self.report_test("last", self.step, accuracy)
        of_step = self.step
        try:
            best = checkpoints.load(self.run, "best")
        except NotFoundError as error:
            self.journal.append("warning", step=self.step, message=f"{error}; the last one is reported as the best")
        else:
            if best.step != self.step:
                # a copy: a signal may save the run meanwhile
                network = deepcopy(self.evaluated)
                with checkpoints.fitting(best):
                    network.load_state_dict(best.network)
                of_step, accuracy = best.step, self.evaluate(network, self.test_split, self.recipe.test, "test")
        self.report_test("best", of_step, accuracy)

    def report_test(self, checkpoint: str, of_step: int, accuracy: Accuracy) -> None:
        """Journal the test split's accuracies of the checkpoint `last` or `best`, saved at step `of_step`."""
        attack = f"PGD-{self.recipe.test.steps} {self.recipe.attack.norm} {self.recipe.attack.epsilon:.4g}"
        self.journal.append(
            "test",
            step=self.step,
            checkpoint=checkpoint,
            of_step=of_step,
            attack=attack,
            **accuracy.row(),
            split_n=len(self.test_split),
        )

    def save(self, best: bool = False) -> None:
        """Write a checkpoint of this moment, and results.h5 from the journal up to it."""
        self.save_checkpoint(best)
        self.results.build_if_due()
        self.meter.restart()

    def save_checkpoint(self, best: bool) -> None:
        self.report()
        epoch = self.sampler.epoch
        saved = checkpoints.save(self.run, self.state_dict(), step=self.step, epoch=epoch, best=best)
        self.journal.append(
            "checkpoint", step=self.step, epoch=epoch, file=saved.path.name, digest=saved.digest, best=best
        )
        self.journal.sync()
        self.saved_at = time.monotonic()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Signals ask, instead of ending the process; whatever ends the training, the journal says so."""
        with catch_signals() as self.requests, self.ending():
            yield

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Save where a signal ended the training; in any case write the end down, and results.h5 with it."""
        try:
            try:
                with naming_remedies():
                    yield
            except StoppedError:
                if self.run.exists:
                    self.save()
                raise
        except BaseException as error:
            with suppress(AfdctlError, OSError):
                self.end(*end_reason(error), str(error) or None)
            raise
        self.end("finished", 0)

    def end(self, reason: str, exit_code: int, message: str | None = None) -> None:
        self.journal.append("end", step=self.step, reason=reason, exit_code=exit_code, message=message)
        self.journal.sync()
        results_file.build(self.run)


@contextmanager
def naming_remedies() -> Iterator[None]:
    """Turn every kind of "out of memory", and a failure of torch.compile, into one line."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise AfdctlError("the memory is full: lower train.batch_size or model.width") from error
        if message := compile_failure(error):
            raise AfdctlError(message) from error
        raise


def end_reason(error: BaseException) -> tuple[str, int]:
    """The journal's word for how a training ended, and the process's exit code."""
    if isinstance(error, AfdctlError):
        return {StoppedError: "stopped", DivergedError: "diverged"}.get(type(error), "failed"), error.exit_code
    return "failed", 130 if isinstance(error, KeyboardInterrupt) else 1


def selection_key(row: dict[str, Any]) -> tuple[float, float]:
    """What makes an epoch the best: accuracy on the hold-out under all of its attacks, then clean accuracy."""
    return row.get("acc_square", row["acc_adv"]), row["acc_nat"]
