"""Attacks of other libraries: their keys, counted passes, and what is made of their x'."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from afdctl.attacks.library_attack import run_library_attack
from afdctl.attacks.norms import clip_to_ball, lp_norm
from afdctl.attacks.sample_rng import SampleRNG
from afdctl.errors import AfdctlError, RecipeError
from afdctl.suites import load
from afdctl.user_code import attack_libraries
from tests.attacks.cases import images, length, small_model
from tests.attacks.linear import model_and_images
from tests.attacks.test_evaluation_contract import Counting, nothing_else_changes

pytest.importorskip("foolbox")
FMN = "foolbox:L2FMNAttack"


def run(name: str, model: Any, x: Tensor, y: Tensor, norm: str = "l2", epsilon: float | None = None, **settings: Any):
    rng = SampleRNG(0, "test", range(len(x)))
    found = attack_libraries.find(name) if isinstance(name, str) else name
    return run_library_attack(found, model, x, y, rng=rng, epsilon=epsilon, norm=norm, settings=settings)


@pytest.mark.parametrize("name", ["foolbox:DDNAttack", "advlib:ddn"])
def test_finds_nearly_the_smallest_perturbation_of_a_linear_model(name: str):
    if name.startswith("advlib"):
        pytest.importorskip("adv_lib")
    model, x, y = model_and_images()
    result = run(name, model, x, y, steps=50)
    assert result.fooled.all()
    ratio = length(result.x_adv - x, "l2") / model.distance(x, "l2")
    # that of the plane without the box, so a little less may be possible
    assert ratio.min() > 0.98
    assert ratio.median() < 1.3


@pytest.mark.parametrize(("name", "norm", "epsilon"), [("foolbox:PGD", "linf", 0.1), (FMN, "l2", None)])
def test_passes_are_counted_and_nothing_else_changes(name: str, norm: str, epsilon: float | None):
    x = images(8)
    model = Counting(small_model(), x)
    y = model.model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    with nothing_else_changes(model.model, x, y):
        result = run(name, model, x, y, norm, epsilon, steps=5)
    assert result.forwards.tolist() == [model.forwards[number] for number in range(8)]
    assert result.backwards.tolist() == [model.backwards[number] for number in range(8)]
    # a misclassified image is not attacked
    assert result.backwards[0] == 0
    again = run(name, model, x, y, norm, epsilon, steps=5)
    assert torch.equal(again.x_adv, result.x_adv)
    if epsilon:
        assert (length(result.x_adv - x, norm) <= epsilon * (1 + 1e-5)).all()


def test_a_decision_attack_takes_no_gradients():
    x, model = images(4), small_model()
    result = run(
        "foolbox:HopSkipJumpAttack", model, x, model(x).argmax(1), "l2", steps=1, initial_gradient_eval_steps=5
    )
    assert result.fooled.all()
    assert (result.backwards == 0).all()
    assert (result.forwards > 10).all()


def fake(call: Any) -> attack_libraries.LibraryAttack:
    return replace(
        attack_libraries.find(FMN), name="advlib:fake", call=call, norms=("linf",), budget="eps", settings={}
    )


def test_images_without_a_start_keep_x_and_the_others_are_attacked():
    x, model = images(8), small_model()

    def attack(model: Any, x: Tensor, y: Tensor, **_: Any) -> Tensor:
        if (x[:, 0, 0, 0] > 0.7).any():
            raise ValueError("init_attack failed")
        return 1 - x

    x[:, 0, 0, 0] = torch.tensor([0.1, 0.9, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1])
    result = run(fake(attack), model, x, model(x).argmax(1), "linf", 1.0)
    assert (result.x_adv == x).flatten(1).all(1).tolist() == [False, True, False, False, True, False, False, False]
    assert not result.fooled[[1, 4]].any()


def test_a_fault_of_the_library_is_one_line():
    def attack(*_: Any, **__: Any) -> Tensor:
        raise TypeError("got a tensor")

    x, model = images(2), small_model()
    with pytest.raises(RecipeError, match=r"^advlib:fake: fails: TypeError: got a tensor$"):
        run(fake(attack), model, x, model(x).argmax(1), "linf", 0.1)


def test_an_image_outside_its_ball_is_clipped():
    x, model = images(4), small_model()
    result = run(fake(lambda model, x, y, **_: 5 - x), model, x, model(x).argmax(1), "linf", 0.1)
    assert (length(result.x_adv - x, "linf") <= 0.1 * (1 + 1e-5)).all()
    assert result.x_adv.max() <= 1


def test_l0_counts_changed_values_and_keeps_the_largest():
    x = torch.zeros(2, 1, 1, 4)
    x_adv = torch.tensor([[0.1, 0.5, 0.0, 0.3], [0.0, 0.0, 0.2, 0.0]]).view_as(x)
    assert lp_norm(x_adv - x, "l0").tolist() == [3, 1]
    assert clip_to_ball(x_adv, x, 2, "l0").flatten(1).tolist() == [
        pytest.approx([0, 0.5, 0, 0.3]),
        [0, 0, x_adv[1, 0, 0, 2], 0],
    ]
    assert torch.equal(clip_to_ball(x_adv, x, torch.inf, "l0"), x_adv)


SUITE = """\
[[attack]]
name = "foolbox:L2FMNAttack"
epsilons = [0, 1]
steps = 7

[[attack]]
name = "foolbox:FGM"
label = "fgm"
epsilons = [0, 1]
"""


def test_a_suite_names_them_with_their_settings(tmp_path: Path):
    path = tmp_path / "my.toml"
    path.write_text(SUITE)
    fmn, fgm = load.load(str(path), "digits").attacks
    assert (fmn.title, fmn.norm, fmn.steps, fmn.gamma, fmn.order) == ("foolbox.L2FMNAttack", "l2", 7, 0.05, "once")
    assert (fgm.title, fgm.random_start, fgm.order) == ("fgm", False, "ascending")
    assert fmn.library_attack.version.startswith("foolbox 3.")
    (named,) = load.load("strong", "digits", attacks=[FMN], overrides=["steps=3"]).attacks
    assert (named.steps, named.epsilons) == (3, (0, 0.25, 0.5, 1, 1.5))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 7", "stepz = 7", "my.toml:4: foolbox:L2FMNAttack.stepz: no such key (did you mean 'steps'?)"),
        ("steps = 7", "steps = 7.5", "my.toml:4: foolbox:L2FMNAttack.steps = 7.5: must be a whole number"),
        ("steps = 7", 'norm = "l1"', "my.toml:4: foolbox:L2FMNAttack.norm = \"l1\": must be 'l2'"),
        ("L2FMNAttack", "nope", "my.toml:2: foolbox:nope: no such attack of foolbox (known: "),
        ("L2FMNAttack", "L2FMN", "my.toml:2: foolbox:L2FMN: no such attack of foolbox (did you mean 'L2FMNAttack'?)"),
    ],
)
def test_mistakes_in_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str):
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(SUITE.replace(old, new))
    with pytest.raises(RecipeError) as error:
        load.load("my.toml", "digits")
    assert str(error.value).startswith(message)


def test_a_missing_library_is_one_line_with_its_command(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> Any:
        if name.startswith(("adv_lib", "foolbox")):
            raise ModuleNotFoundError(f"No module named '{name}'")
        return import_module(name)

    monkeypatch.setattr(attack_libraries, "import_module", missing)
    attack_libraries.find.cache_clear()
    for name, command in (("advlib:fmn", "pip install --no-deps adv-lib tqdm"), (FMN, "pip install 'afdctl[foolbox]'")):
        with pytest.raises(AfdctlError) as error:
            attack_libraries.find(name)
        assert command in str(error.value)
        assert "\n" not in str(error.value)


def test_settings_have_names_that_a_shell_can_type():
    pytest.importorskip("adv_lib")
    attack_libraries.find.cache_clear()
    found = attack_libraries.find("advlib:sigma_zero")
    assert {"num_steps", "sigma", "eta_0", "tau_0"} <= found.settings.keys()
    assert all(key.isascii() for key in found.settings)
    assert found.norms == ("l0",)
    model, x = small_model(), images(8)
    result = run("advlib:sigma_zero", model, x, model(x).argmax(1), "l0", num_steps=30, sigma=0.01)
    assert result.fooled.all()
    assert (length(result.x_adv - x, "linf") > 0).all()
    assert np.median(lp_norm(result.x_adv - x, "l0")) < 20
