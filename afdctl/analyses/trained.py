"""The discriminator that a run trained."""

from torch import nn

from afdctl import recipe
from afdctl.models import discriminator
from afdctl.models.feature_classifier import FeatureClassifier
from afdctl.recipe.schema import AFD
from afdctl.store import checkpoints
from afdctl.store.run import Run
from afdctl.sweep.subject import Subject


def discriminator_of(run: Run, which: str, subject: Subject) -> nn.Module | None:
    """D_psi of the run's checkpoint `which`, frozen; None for a run without one: NT, AT, TRADES, and foreign models."""
    if run.kind == "external" or not isinstance(subject.network, FeatureClassifier):
        return None
    defense = recipe.loads(run.recipe_text).defense
    loaded = checkpoints.load(run, which)
    with checkpoints.fitting(loaded):
        state = loaded.state["defense"].get("D_psi")
        if not isinstance(defense, AFD) or state is None:
            return None
        D_psi = discriminator.build(defense, subject.network.features, subject.classes)
        D_psi.load_state_dict(state)
    return D_psi.eval().requires_grad_(False)
