"""Each example of docs/examples trains from its recipe."""

from pathlib import Path

import pytest

import afdctl
from afdctl import recipe
from afdctl.runs.record import Record
from tests.conftest import SHORT, train

EXAMPLES = Path(afdctl.__file__).parents[1] / "docs/examples"
# recipe -> method, data set, encoder
SHOWN = {
    "interpolated": ("IAT", "digits", "resnet18"),
    "encoder": ("AT", "digits", "SmallNet"),
    "shapes": ("AT", "Shapes", "resnet18"),
}


def test_every_recipe_is_tested():
    # a recipe of another test is not trained here
    assert set(SHOWN) <= {path.stem for path in EXAMPLES.glob("*.toml")}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_trains(tmp_path: Path, name: str):
    overrides = [
        *SHORT,
        "train.epochs=1",
        "train.milestones=[]",
        "data.train_limit=512",
        "attack.steps_warmup_epochs=0",
    ]
    chosen = recipe.load(str(EXAMPLES / f"{name}.toml"), [*overrides, "attack.n_fgsm_epochs=0"])
    run = train(chosen, tmp_path)
    kept = Record.of(run).recipe
    assert kept is not None
    assert (kept.method, kept.dataset, kept.encoder) == SHOWN[name]
    assert Record.of(run).test()
