"""The comparison of attacks with other libraries: both ways attack the same images and count alike."""

from functools import partial

import pytest
import torch

from afdctl.data.loader import as_floats
from benchmarks import attacks_vs_peers
from tests.evaluation.conftest import MakeSubject
from tests.evaluation.test_runner import spec, tasks


def test_both_ways_attack_the_same_images(make_subject: MakeSubject):
    """An attack that changes nothing leaves the clean accuracy, and one step of FGSM less than it."""
    subject = make_subject()
    (task,) = tasks(subject, spec("pgd_linf", (0.0, 0.3), steps=3))
    x, y, index = as_floats(subject.split.x[:16]), subject.split.y[:16], torch.arange(16)
    images = attacks_vs_peers.Images(x, y, index)
    left = partial(attacks_vs_peers.theirs, network=subject.network, images=images, epsilon=0.3, spec=task.spec)
    clean = float((subject.network(x).argmax(1) == y).float().mean())
    assert left(lambda network, x, y: x) == pytest.approx(clean)
    assert attacks_vs_peers.ours(task, images, 0.3, "float32") < clean
