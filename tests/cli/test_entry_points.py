"""An installed package with one of each kind, which recipes and commands name by its entry points."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Afdctl
from tests.conftest import SHORT

MINE = Path(__file__).parents[1] / "extensions/mine.py"
FUNCTIONS = """

def shake(model, x, y, *, epsilon, rng, gain: float = 1.0):
    return x + gain * epsilon * (rng.uniform(x) - 0.5).sign()


def spread(inputs, *, power: float = 1.0):
    return {"spread": float(inputs.natural.z.std()) ** power}
"""
ENTRY_POINTS = {
    "defenses": "Mine",
    "encoders": "Net",
    "datasets": "Pictures",
    "adversaries": "attack",
    "attacks": "shake",
    "analyses": "spread",
}
# an adversary and an attack may have the same name
RECIPE = """
extends = "digits_at"
data = { dataset = "shared_Pictures", shade = 120, holdout = 64 }
model = { encoder = "shared_Net", activation = "silu" }
defense = { name = "shared_Mine", weight = 0.25 }
attack = { name = "shared_attack", gain = 1.5, n_fgsm_epochs = 0, steps_warmup_epochs = 0 }
"""


@pytest.fixture
def installed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package `shared_parts`; the working directory has a file of this name too."""
    package, about = tmp_path / "shared_parts", tmp_path / "shared_parts-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").touch()
    (package / "beside.py").write_text('NAMES = ("a", "b", "c", "d")\n')
    (package / "scale.txt").write_text("1.0")
    own = MINE.read_text().replace("import beside", "from shared_parts import beside")
    (package / "parts.py").write_text(own + FUNCTIONS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shared-parts\nVersion: 1.0\n")
    entries = (f"[afdctl.{group}]\nshared_{name} = shared_parts.parts:{name}\n" for group, name in ENTRY_POINTS.items())
    (about / "entry_points.txt").write_text("\n".join(entries))
    (folder / "shared_parts.py").write_text("raise RuntimeError('not the installed package')\n")
    (folder / "shared.toml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_package_is_trained_attacked_and_analysed(afdctl: Afdctl, folder: Path, installed: Path):
    short = [part for value in [*SHORT, "train.epochs=1"] for part in ("--set", value)]
    ended = afdctl("train", "shared.toml", "--name", "shared", *short)
    assert ended.code == 0, ended.err
    assert "Mine on Pictures" in ended.err
    sweep = ("sweep", "shared", "--attacks", "shared_shake", "--epsilons", "0,0.1", "--limit", "20", "--json")
    ended = afdctl(*sweep)
    assert ended.code == 0, ended.err
    (curve,) = json.loads(ended.out)["curves"]
    assert curve["attack"] == "shared_parts.parts.shared_shake"
    ended = afdctl("analyze", "shared", "--analysis", "shared_spread", "--limit", "20", "--set", "power=0", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["analyses"][0]["spread"] == 1
    # it is compared, not copied
    assert not (folder / "runs/shared/code").exists()
    file = installed / "parts.py"
    file.write_text(file.read_text() + "\n# another version\n")
    assert "shared_parts/parts.py of data has changed since the training" in afdctl(*sweep).err
