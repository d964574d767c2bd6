"""Test that FAB-T takes the library's steps, and attacks several classes in one batch if they fit."""

import pytest
import torch
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from afdctl.attacks.fab import fab_t
from afdctl.attacks.norms import lp_norm
from afdctl.attacks.sample_rng import SampleRNG
from tests.attacks.short import attack, images, net, setting


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("rank", [1, 2])
def test_is_the_library_bit_by_bit(norm: str, rank: int):
    model = net(10).requires_grad_(False)
    x, y = images(model)
    runs = []
    for number in range(rank):
        theirs = FABAttack_PT(model, norm={"linf": "Linf"}.get(norm, norm.upper()), n_iter=20, device=x.device)
        theirs.target_class = number + 2
        runs.append(theirs.attack_single_run(x, y, is_targeted=True))
    distances = torch.stack([torch.where((run != x).flatten(1).any(1), lp_norm(run - x, norm), 9e9) for run in runs])
    expected = torch.stack(runs)[distances.argmin(0), torch.arange(len(x))]
    found = attack(setting("fab_t", norm, steps=20, targets=rank), model, x, y)
    assert found.fooled.float().mean() > 0.5
    assert torch.equal(found.x_adv[found.fooled], expected[found.fooled])


def test_classes_together_find_the_same():
    model, calls = net(10), []

    def counting(image: Tensor) -> Tensor:
        calls.append(len(image))
        logits: Tensor = model(image)
        return logits

    x, y = images(model, n=5)
    knobs = {"rng": SampleRNG(0, "fab", range(5)), "norm": "linf", "steps": 10, "targets": 9}
    alone = fab_t(counting, x, y, **knobs)
    calls_alone = len(calls)
    together = fab_t(counting, x, y, max_batch=22, **knobs)
    # four classes of five samples at a time: 4, 4 and 1 of the nine; a look at x before, and one at x' after
    assert calls_alone == 2 + 9 * 20
    assert len(calls) - calls_alone == 2 + 3 * 20
    assert max(calls) == 20
    assert torch.allclose(alone.x_adv, together.x_adv, atol=1e-5)
    for name in ("first_success_step", "forwards", "backwards"):
        assert torch.equal(getattr(alone, name), getattr(together, name))
