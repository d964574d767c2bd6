"""The start of a run on disk: its recipe, the first lines of its journal, run.json."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from afdctl import allreduce, recipe
from afdctl.journal import SCHEMA
from afdctl.recipe import Recipe
from afdctl.runs import user_files
from afdctl.training.schedule import recipe_warnings
from afdctl.training.trainer import Trainer


def store_recipe(trainer: Trainer, chosen: Recipe) -> None:
    """Write the run's recipe, and copy the user's code that it names; the code has been executed by now."""
    if trainer.processes.is_first:
        trainer.stored_recipe = user_files.keep(chosen, trainer.run)
        trainer.run.write_recipe(recipe.dump(trainer.stored_recipe))


def write_header(trainer: Trainer, provenance: Mapping[str, Any], best: bool = False) -> None:
    """Start the run: the journal's first line, warnings, a checkpoint of step 0 and, last, run.json."""
    # initial values may depend on a machine, or on random numbers that a user's code draws
    own = [value for value in vars(trainer.defense).values() if isinstance(value, Tensor)]
    allreduce.copy_from_first([*trainer.defense.modules.values(), trainer.evaluated_network], own)
    sampler, evaluator, validation = trainer.sampler, trainer.evaluator, trainer.validation_schedule
    splits = {"train": sampler, "extra": sampler.extra or ()}
    splits |= {"holdout": evaluator.holdout, "test": evaluator.test_split}
    trainer.journal.append(
        "run",
        schema=SCHEMA,
        name=trainer.run.name,
        recipe=trainer.stored_recipe.model_dump(mode="json"),
        **trainer.run_length(),
        device=str(trainer.device),
        processes=trainer.processes.size,
        precisions={"attack": trainer.recipe.attack.precision, "train": trainer.recipe.train.precision},
        parameters=sum(parameter.numel() for parameter in trainer.network.parameters()),
        classes=trainer.classes,
        images={name: len(split) for name, split in splits.items() if len(split) or name != "extra"},
        validation={"interval": validation.interval, "share": validation.share},
    )
    warnings = [*recipe_warnings(trainer.recipe, trainer.image_shape[1]), *validation.warnings()]
    for message in [*trainer.notes, *warnings]:
        trainer.journal.append("warning", step=trainer.step, message=message)
    trainer.save_checkpoint(best)
    # last, because a folder without run.json is not a run yet and is removed after a failure
    if trainer.processes.is_first:
        trainer.run.complete(provenance)
        trainer.results.build_if_due()
    trainer.processes.agree()
