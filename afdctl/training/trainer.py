"""The training loop: steps, epochs, validation, checkpoints, the final test. All output goes to the journal."""

import time
from collections.abc import Mapping
from typing import Any, Final

import torch

from afdctl import allreduce
from afdctl.data import Dataset
from afdctl.data.augment import Augmentation
from afdctl.data.loader import Sampler, Split, hold_out
from afdctl.defenses.build import make_defense
from afdctl.interrupts import StopRequests
from afdctl.journal import Journal
from afdctl.models.feature_classifier import FeatureClassifier, build, set_performance
from afdctl.models.sync_batch_norm import average_running_statistics, synchronise
from afdctl.recipe import Recipe
from afdctl.runs import checkpoints, results_file
from afdctl.runs.run import Run
from afdctl.training.adversary import Adversary
from afdctl.training.alarms import AlarmDetector
from afdctl.training.cost_estimate import cost_event
from afdctl.training.distributed import ALONE, Processes, check_same_weights
from afdctl.training.ema import ExponentialMovingAverage
from afdctl.training.evaluate import Evaluator, selection_key
from afdctl.training.initial_weights import InitialWeights
from afdctl.training.metric_buffer import MetricBuffer, check_finite
from afdctl.training.rng import TrainingRNG, preserved_global_state, seed_layers, seeded_init
from afdctl.training.schedule import AdversarySchedule, LearningRateSchedule, ValidationSchedule
from afdctl.user_code.global_state import preserved

# the trainer's members whose state a checkpoint holds, beside its own counters and random streams
STATEFUL: Final = ("defense", "sampler", "alarms")


class Trainer:
    """Trains one run, perhaps from `weights`. `state_dict` has everything that the rest of the training depends on."""

    def __init__(
        self,
        *,
        run: Run,
        recipe: Recipe,
        dataset: Dataset,
        device: torch.device,
        journal: Journal,
        weights: InitialWeights | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.run, self.recipe, self.device, self.journal, self.processes = run, recipe, device, journal, processes
        self.stored_recipe, self.notes = recipe, list(dataset.notes)
        self.rng = TrainingRNG(recipe.seed, device, user_code=recipe.user_code is not None, rank=processes.rank)
        table = recipe.data
        rows, holdout = hold_out(len(dataset.train), table.holdout, recipe.seed, table.train_limit)
        self.sampler = Sampler(
            dataset.train,
            rows=rows,
            device=device,
            batch_size=recipe.train.batch_size,
            augment=Augmentation(
                **table.model_dump(include={"augment", "crop_padding", "random_erasing", "cutmix"}),
                classes=len(dataset.classes),
                generator=self.rng.augment,
                mix_generator=self.rng.mix,
            ),
            shuffle_generator=self.rng.shuffle,
            extra=dataset.extra,
            extra_share=table.extra_share or 0.0,
            rank=processes.rank,
            processes=processes.size,
        )
        self.evaluator = Evaluator(
            run=run,
            recipe=recipe,
            journal=journal,
            holdout=Split(dataset.train.select(holdout), device),
            test_split=Split(dataset.test, device),
            between_batches=self.handle_interrupts,
            processes=processes,
        )
        self._build_models(self.evaluator.test_split.x.shape[1:], len(dataset.classes), weights)
        self.lr_schedule = LearningRateSchedule(recipe.train, self.sampler.steps_per_epoch)
        self.adversary_schedule = AdversarySchedule(recipe, self.sampler.steps_per_epoch)
        self.validation_schedule = ValidationSchedule(recipe, len(rows), len(holdout))
        self.metrics, self.results = MetricBuffer(processes), results_file.PeriodicBuilder(run)
        self.alarms = AlarmDetector(recipe, self.run_length()["steps_total"], self.classes, self.network)
        self.stop_requests, self.step, self.last_save = StopRequests(), 0, time.monotonic()
        self.best_epoch: dict[str, Any] = {}

    def _build_models(self, shape: torch.Size, classes: int, weights: InitialWeights | None) -> None:
        """Build network, adversary and defense for images (c, h, w); initial weights follow the recipe's seed."""
        recipe, (channels, image_size, _) = self.recipe, shape
        self.image_shape, self.classes = shape, classes
        with seeded_init(recipe.seed):
            # on the CPU, so that initial weights are the same for every device
            network = build(**recipe.model.architecture, channels=channels, image_size=image_size, classes=classes)
            self.notes += weights.load_into(network, recipe.model) if weights else []
            network.freeze(recipe.train.freeze)
            self.network = network.to(self.device)
            set_performance(self.network, recipe.train.precision, recipe.train.compile or None)
            self.adversary = Adversary(self.network, recipe.attack, self.rng.attack)
            self.defense = make_defense(recipe.defense, self.network, self.adversary, classes, self.rng.noise)
        modules = self.defense.modules.values()
        if self.processes.size > 1 and recipe.train.sync_batch_norm:
            self.notes += [note for module in modules for note in synchronise(module)]
        self.ema = ExponentialMovingAverage(self.network, recipe.train.ema_decay) if recipe.train.ema_decay else None

    @property
    def evaluated_network(self) -> FeatureClassifier:
        """The network to validate, test and attack: the moving average if there is one."""
        return self.ema.network if self.ema else self.network

    def state_dict(self) -> dict[str, Any]:
        state = {"step": self.step, "best": self.best_epoch, "rng": self.processes.gather(self.rng.state_dict())}
        state |= {name: getattr(self, name).state_dict() for name in STATEFUL}
        return state | ({"ema": self.ema.network.state_dict()} if self.ema else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step, self.best_epoch = state["step"], state["best"]
        self.rng.continue_streams(state["rng"], rank=self.processes.rank, seed=self.recipe.seed, step=self.step)
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        if self.ema:
            self.ema.network.load_state_dict(state["ema"])

    def run_length(self) -> dict[str, int]:
        """Return the length of the whole training as journal fields."""
        epochs, steps_per_epoch = self.recipe.train.epochs, self.sampler.steps_per_epoch
        return {"epochs": epochs, "steps_per_epoch": steps_per_epoch, "steps_total": epochs * steps_per_epoch}

    def log_cost_estimate(self) -> None:
        """Log the estimated FLOP per step; counted on a separate copy, so that RNG and weights are not affected."""
        with preserved():
            cost = cost_event(self.recipe, self.image_shape, self.classes, self.device)
        self.journal.append("cost", step=self.step, **cost)

    def train(self) -> None:
        """Train to the last epoch and test. Errors: StoppedError, DivergedError, DiskFullError."""
        with preserved_global_state(self.device):
            self.log_cost_estimate()
            while self.sampler.epoch < self.recipe.train.epochs:
                self.train_epoch()
                self.finish_epoch()
            self.evaluator.test(self.evaluated_network, self.step)

    def train_epoch(self) -> None:
        """Train on the remaining batches of the current epoch."""
        self.network.train()
        self.metrics.restart()
        while self.sampler.batch < self.sampler.steps_per_epoch:
            self.train_step()
            if len(self.metrics) >= self.recipe.train.report_every:
                self.append_metrics(self.metrics.pop_ready())
            self.handle_interrupts()

    def train_step(self) -> None:
        """Train on one batch; its metrics stay on the device until they are written."""
        x, y = self.sampler.next()
        self.defense.set_lr_factor(self.lr_schedule.factor(self.step))
        self.adversary.table = self.adversary_schedule.table(self.step)
        self.defense.epoch = self.sampler.epoch
        seed_layers(self.recipe.seed, self.step, self.processes.rank)
        with allreduce.batch_share(self.sampler.part, self.sampler.copies):
            report = self.defense.step(x, y)
        if self.processes.size > 1:
            report = {name: self.sampler.part * metric for name, metric in report.items()}
            average_running_statistics(self.defense.modules.values())
        self.step += 1
        if self.ema:
            self.ema.update(self.step)
        # only values that the host knows: reading a loss would wait for the device
        row = {"event": "step", "step": self.step, "epoch": self.sampler.epoch + 1, **self.defense.learning_rates()}
        if self.adversary_schedule.varies:
            row |= {"attack_steps": self.adversary.table.steps, "progress": self.adversary_schedule.progress(self.step)}
        self.metrics.add(row, self.sampler.images, report)

    def flush_metrics(self) -> None:
        """Write the metrics of all steps so far; waits for the device."""
        self.append_metrics(self.metrics.flush())

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write rows of steps to the journal. Error: DivergedError if a loss or gradient norm is not finite."""
        try:
            self.journal.extend([*rows, *self.alarms.of_steps(rows)])
        finally:
            # takes precedence over any error of writing, so that diverged weights are never saved
            check_finite(rows, self.run.path)

    def handle_interrupts(self) -> None:
        """Handle pending stop and save requests; also save if the last checkpoint is `save_minutes` old."""
        is_due = time.monotonic() - self.last_save > 60 * self.recipe.train.save_minutes
        stop, save = self.processes.agree(self.stop_requests.stop or 0, self.stop_requests.save or is_due)
        if stop:
            self.stop_requests.stop = stop
            self.flush_metrics()
            self.stop_requests.raise_if_stopped(f"resume with `afdctl train --resume {self.run.path}`")
        if save:
            self.stop_requests.save = False
            self.save()

    def finish_epoch(self) -> None:
        """Validate if it is due, decide whether this epoch is the best, and save."""
        self.flush_metrics()
        start = time.monotonic()
        row: dict[str, Any] = {"epoch": self.sampler.epoch + 1, "step": self.step}
        if self.validation_schedule.includes(row["epoch"]):
            row |= self.evaluator.validate(self.evaluated_network)
        selects_last, best = self.recipe.train.checkpoint_selection == "last", selection_key(self.best_epoch)
        # until the first validation the newest epoch is the best
        is_best = selects_last or not best or selection_key(row) > best
        if is_best:
            self.best_epoch = row
        self.journal.append("epoch", **row, best=is_best, seconds=round(time.monotonic() - start, 3))
        self.journal.extend(self.alarms.of_epoch(row, self.best_epoch))
        # before saving, so that a resumed run continues with the next epoch
        self.sampler.start_epoch()
        self.save(best=is_best)

    def save(self, best: bool = False) -> None:
        """Save a checkpoint, and update results.h5 if that takes at most 1 % of the time so far."""
        self.save_checkpoint(best)
        if self.processes.is_first:
            self.results.build_if_due()
        # time spent on saving is not part of images_per_s
        self.metrics.restart()

    def save_checkpoint(self, best: bool) -> None:
        """Save a checkpoint after the metrics that belong to it, and journal it."""
        self.flush_metrics()
        epoch, state = self.sampler.epoch, self.state_dict()
        if self.processes.is_first:
            saved = checkpoints.save(self.run, state, step=self.step, epoch=epoch, best=best)
            self.journal.append(
                "checkpoint", step=self.step, epoch=epoch, file=saved.path.name, digest=saved.digest, best=best
            )
            # the journal must name every checkpoint that survives a power cut
            self.journal.sync()
        check_same_weights(self.processes, self.defense)
        # the next step may be a test, in which all processes read the checkpoint
        self.processes.agree()
        self.last_save = time.monotonic()

    def log_end(self, reason: str, exit_code: int, message: str | None = None) -> None:
        """Write the journal's `end` event, and results.h5."""
        self.journal.append("end", step=self.step, reason=reason, exit_code=exit_code, message=message)
        self.journal.sync()
        if self.processes.is_first:
            results_file.build(self.run)
