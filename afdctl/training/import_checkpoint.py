"""Import weights as a run: a checkpoint of the AFD authors' code, or a model with a card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from afdctl.errors import RecipeError
from afdctl.models import authors_checkpoint
from afdctl.models.authors_checkpoint import AuthorsCheckpoint
from afdctl.models.state_dict_io import load_state_dict_strict, parse
from afdctl.recipe import Recipe
from afdctl.runs.model_card import StoredModel
from afdctl.runs.provenance import with_precisions
from afdctl.runs.run import Run
from afdctl.training.cost_estimate import FLOAT32
from afdctl.training.header import store_recipe, write_header
from afdctl.training.run_data import load_dataset, provenance
from afdctl.training.trainer import Trainer


def import_checkpoint(
    path: Path, chosen: Recipe, *, stem: str, runs: Path, name: str | None, data_dir: Path | None
) -> tuple[Run, list[str]]:
    """Make a run whose checkpoint of step 0 is both `last` and `best`; return it with warnings.

    The recipe must say how features are normalised, since the weights do not. Errors: RecipeError for a recipe of
    another network, NotFoundError, CorruptError.
    """
    checkpoint = authors_checkpoint.load(path)
    checkpoint.check_norm(chosen.model.norm, path)
    return _import(
        chosen,
        lambda trainer: load_weights(trainer, checkpoint, path),
        stem=stem,
        runs=runs,
        name=name,
        data_dir=data_dir,
        imported={"file": str(path.resolve()), "sha256": checkpoint.digest},
    )


def import_model(model: StoredModel, *, runs: Path, data_dir: Path | None) -> Run:
    """Make the run that holds the results of a model with a card, as `import_checkpoint` does.

    Errors: CorruptError for weights that are not those of the card, DataMissingError without its data set.
    """
    weights = parse(model.read_weights(), model.weights_path)

    def load_network(trainer: Trainer) -> list[str]:
        load_state_dict_strict(trainer.network, weights, model.weights_path)
        # only the network is in the file; the discriminator's estimates would be those of random weights
        trainer.defense.modules.pop("D_psi", None)
        return []

    imported = {"model": model.name, "file": str(model.weights_path.resolve()), "sha256": model.card.weights}
    run, _ = _import(
        model.card.recipe,
        load_network,
        stem=model.name,
        runs=runs,
        name=model.run_name,
        data_dir=data_dir,
        imported=imported,
    )
    return run


def _import(
    chosen: Recipe,
    load: Callable[[Trainer], list[str]],
    *,
    stem: str,
    runs: Path,
    name: str | None,
    data_dir: Path | None,
    imported: dict[str, Any],
) -> tuple[Run, list[str]]:
    """Make a run of the recipe with the weights that `load` puts into its trainer; `load` returns warnings."""
    dataset, device = load_dataset(chosen.data, data_dir), torch.device("cpu")
    with Run.begin(runs, stem, name) as (run, journal):
        recipe = with_precisions(chosen, FLOAT32)
        trainer = Trainer(run=run, recipe=recipe, dataset=dataset, device=device, journal=journal)
        store_recipe(trainer, chosen)
        warnings = load(trainer)
        if trainer.ema:
            # what is evaluated of a recipe with an average; it was made from the random initial weights
            trainer.ema.network.load_state_dict(trainer.network.state_dict())
        facts = provenance(chosen, dataset, device, data_dir, kind="imported", imported=imported)
        write_header(trainer, facts, best=True)
        for warning in warnings:
            journal.append("warning", step=0, message=warning)
        trainer.log_end("imported", 0)
    return run, warnings


def load_weights(trainer: Trainer, checkpoint: AuthorsCheckpoint, path: Path) -> list[str]:
    """Load network and discriminator into the trainer's modules; return warnings."""
    if trainer.recipe.model.norm == "scale":
        raise RecipeError('model.norm = "scale": the authors\' networks have no such scalar; use "l2" or "none"')
    load_state_dict_strict(trainer.network, checkpoint.network, path)
    D_psi = trainer.defense.modules.get("D_psi")
    # only AFD has a discriminator; a recipe of another defense takes the network alone
    if D_psi is None:
        return []
    if checkpoint.discriminator is None:
        return [f"{path}: has no discriminator (EDa_state_dict); the run's discriminator is new and untrained"]
    load_state_dict_strict(D_psi, checkpoint.discriminator, path)
    return []
