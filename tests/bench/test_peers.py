"""The comparison of training steps with other libraries, and the textbook step."""

import pytest
import torch

from afdctl.bench.step_time import make_batch
from benchmarks import steps_vs_peers
from tests.conftest import short


def test_a_library_that_is_not_installed_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(steps_vs_peers, "import_module", missing)
    small = ["train.batch_size=4", "attack.name=pgd", "model.encoder=lenet", "model.width=8"]
    at, afd = (short(name, *small) for name in ("digits_at", "digits_dcgan"))
    report = steps_vs_peers.measure(at, afd, make_batch(at, torch.device("cpu")), steps=1, rounds=2)
    absent = {"AT / torchattacks", "AT / ART"}
    assert set(report["ratios"]) == {f"{a} / {b}" for a, b in steps_vs_peers.RATIOS} - absent
    assert all(low <= middle <= high for middle, low, high in report["ratios"].values())
    assert "ART: left out, No module named 'art.estimators.classification'" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_textbook_attack_stays_in_the_ball_and_raises_the_loss(precision: str):
    chosen = short("digits_at", "train.batch_size=8")
    images = make_batch(chosen, torch.device("cpu"))
    step = steps_vs_peers.Textbook(chosen, images, steps=3, precision=precision)
    step.network.eval()
    x_adv = step.attack(images.x, images.y)
    assert (x_adv - images.x).abs().max() <= chosen.attack.epsilon + 1e-6
    losses = [torch.nn.functional.cross_entropy(step.network(x), images.y).item() for x in (images.x, x_adv)]
    assert losses[1] > losses[0]
