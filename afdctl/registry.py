"""The names that recipes and suites may use, and their code, which is imported only when loaded."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

# places in text, not classes: a recipe is validated without importing torch
DATASETS: Final[Mapping[str, str]] = {
    "digits": "afdctl.data.digits:Digits",
    "mnist": "afdctl.data.mnist:MNIST",
    "fashion_mnist": "afdctl.data.mnist:FashionMNIST",
    "cifar10": "afdctl.data.cifar:CIFAR10",
    "cifar100": "afdctl.data.cifar:CIFAR100",
    "tiny_imagenet": "afdctl.data.tiny_imagenet:TinyImageNet",
    "folder": "afdctl.data.image_folder:Folder",
}
ENCODERS: Final[Mapping[str, str]] = {
    "resnet18": "afdctl.models.resnet:resnet18",
    "resnet18_mnist": "afdctl.models.resnet:resnet18_mnist",
    "lenet": "afdctl.models.lenet:lenet",
}
DISCRIMINATORS: Final[Mapping[str, str]] = {
    "fc1-pd": "afdctl.models.discriminator:fc1_pd",
    "fc3": "afdctl.models.discriminator:fc3",
    "fc3-pd": "afdctl.models.discriminator:fc3_pd",
}
DEFENSES: Final[Mapping[str, str]] = {
    "natural": "afdctl.defenses.natural:Natural",
    "adversarial": "afdctl.defenses.adversarial:Adversarial",
    "trades": "afdctl.defenses.trades:Trades",
    "afd": "afdctl.defenses.afd:AFD",
    "matching": "afdctl.defenses.matching:Matching",
}
ADVERSARIES: Final[Mapping[str, str]] = {
    "apgd_ce": "afdctl.attacks.apgd:apgd",
    "pgd": "afdctl.attacks.pgd:pgd_ce",
    "pgd_kl": "afdctl.attacks.pgd:pgd_kl",
    "n_fgsm": "afdctl.attacks.n_fgsm:n_fgsm",
}
ATTACKS: Final[Mapping[str, str]] = {
    "fgsm": "afdctl.attacks.fgsm:fgsm",
    "pgd_linf": "afdctl.attacks.pgd:pgd_linf",
    "pgd_l2": "afdctl.attacks.pgd:pgd_l2",
    "pgd_l1": "afdctl.attacks.pgd:pgd_l1",
    "mim": "afdctl.attacks.mim:mim",
    "ddn": "afdctl.attacks.ddn:ddn",
    "deepfool": "afdctl.attacks.deepfool:deepfool",
    "cw": "afdctl.attacks.carlini_wagner:cw",
    "aa": "afdctl.attacks.autoattack:aa",
    "apgd_ce": "afdctl.attacks.autoattack:apgd_ce",
    "apgd_t": "afdctl.attacks.autoattack:apgd_t",
    "fab_t": "afdctl.attacks.fab:fab_t",
    "square": "afdctl.attacks.autoattack:square",
    "apgd_l1": "afdctl.attacks.autoattack:apgd_l1",
    "noise": "afdctl.attacks.noise:noise",
}


def load(table: Mapping[str, str], name: str) -> Any:
    """Import and return the class or function of a name."""
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)
