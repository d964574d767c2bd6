"""A torch module and test images that a caller has, as the target of an evaluation, without a run to keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from afdctl.data import Dataset, ImageTensors
from afdctl.errors import RecipeError
from afdctl.evaluation import sanity_checks
from afdctl.evaluation.images import check_labels, check_tensors, classes_of, frozen, prepare
from afdctl.evaluation.outputs import CHECKED_IMAGES, check_images, compute_fingerprint, preserved_state
from afdctl.evaluation.target import EvaluationTarget, make_target
from afdctl.runs.folders import name_stem
from afdctl.runs.provenance import environment
from afdctl.runs.run import Run

# name of images that a caller gives, in messages and tables
GIVEN = "given"


def check_given(network: nn.Module, x: Tensor, y: Tensor) -> list[str]:
    """Return the warnings of `sanity_checks.check` for images x (n, c, h, w) in [0, 1] with labels y (n,)."""
    images, labels = (tensor[:CHECKED_IMAGES] for tensor in prepare(network, x, y))
    with preserved_state(network, images.device):
        classes = classes_of(network, images)
        check_labels(labels, classes)
    return sanity_checks.check(network, images, labels, tuple(map(str, range(classes))))


def given_dataset(x: Tensor, y: Tensor) -> Dataset:
    """Make a data set whose test split is x (n, c, h, w), of 8 bits or their 255ths, with labels y (n,)."""
    images = x / 255 if isinstance(x, Tensor) and x.dtype == torch.uint8 else x
    check_tensors(images, y)
    x_8bit = (images * 255).round()
    if (x_8bit / 255 - images).abs().max() > 1e-6:
        raise RecipeError(
            "data: x must be 8-bit images (0 to 255), or their values divided by 255; round others with "
            "(255 * x).round().to(torch.uint8), or call `attack`, which takes any"
        )
    x_8bit, labels = x_8bit.to("cpu", torch.uint8), y.to("cpu", torch.int64)
    tensors = ImageTensors(x_8bit, labels)
    # nothing is trained; the names of classes follow from the network, whose number of them may be larger
    return Dataset(GIVEN, train=tensors, test=tensors, classes=())


@contextmanager
def given_target(network: nn.Module, images: Dataset) -> Iterator[EvaluationTarget]:
    """Make the network a target on its own device, whose results are in a temporary run, and leave it as it was."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with TemporaryDirectory() as folder, preserved_state(network, device), frozen(network):
        x = check_images(images, device)
        classes = classes_of(network, x)
        check_labels(images.test.y, classes)
        names = images.classes or tuple(map(str, range(classes)))
        digest = sha256(str(compute_fingerprint(network, x, classes)).encode()).hexdigest()
        facts = {"kind": "external", "dataset": images.name, "data_digest": images.digest, "model_digest": digest}
        name = name_stem(type(network).__name__)
        run = Run.create(Path(folder), name, None, facts | environment(device), name=name)
        dataset = Dataset(images.name, train=images.train, test=images.test, classes=names, notes=images.notes)
        yield make_target(run, network, dataset, device, digest=digest, load=lambda: dataset)
