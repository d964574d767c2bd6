"""A checkpoint of the authors' code as a run: its network and discriminator, saved as a training of ours saves them."""

from pathlib import Path

import torch

from afdctl import data, recipe
from afdctl.errors import RecipeError
from afdctl.models import authors_checkpoint
from afdctl.models.state_dict_io import load_state_dict_strict
from afdctl.recipe import Recipe
from afdctl.runs.run import Run
from afdctl.training.setup import provenance
from afdctl.training.trainer import Trainer


def import_official(
    checkpoint: Path, chosen: Recipe, *, stem: str, runs: Path, name: str | None, data_dir: Path | None
) -> tuple[Run, list[str]]:
    """Make a run whose checkpoint of step 0 is both `last` and `best`; and what a user should know about it.

    The recipe says how features are normalised, which the weights do not. Errors: RecipeError for a recipe that
    describes another network, NotFoundError, CorruptError.
    """
    found = authors_checkpoint.load(checkpoint)
    found.check_norm(chosen.model.norm, checkpoint)
    source, device = data.load(chosen.data, data_dir), torch.device("cpu")
    imported = {"file": str(checkpoint.resolve()), "sha256": found.digest}
    with Run.begin(runs, stem, name) as (run, journal):
        run.write_recipe(recipe.dump(chosen))
        trainer = Trainer(run, chosen, source, device, journal)
        warnings = put_weights(found, trainer, checkpoint)
        facts = provenance(chosen, source, device, data_dir, kind="imported", imported=imported)
        trainer.announce(facts, best=True)
        for warning in warnings:
            journal.append("warning", step=0, message=warning)
        trainer.end("imported", 0)
    return run, warnings


def put_weights(found: authors_checkpoint.AuthorsCheckpoint, trainer: Trainer, checkpoint: Path) -> list[str]:
    """Load the weights into the trainer's modules; returns warnings."""
    if trainer.recipe.model.norm == "scale":
        raise RecipeError('model.norm = "scale": the authors\' networks have no such scalar; use "l2" or "none"')
    load_state_dict_strict(trainer.network, found.network, checkpoint)
    D_psi = trainer.defense.modules.get("D_psi")
    if D_psi is None:
        return []
    if found.discriminator is None:
        return [f"{checkpoint}: has no discriminator (EDa_state_dict); the run's is a new, untrained one"]
    load_state_dict_strict(D_psi, found.discriminator, checkpoint)
    return []
