"""The built-in names: one descriptor for each, which every consumer reads. `names.py` finds their code."""

from collections.abc import Mapping
from typing import Final

from afdctl.descriptors import (
    AnalysisDescriptor,
    DefenseDescriptor,
    Descriptor,
    Kind,
    Loss,
)
from afdctl.name_families import TIMM, WIDE_RESNET
from afdctl.names import describe, find_entry_point, is_code, load, load_config, resolve, user_code

__all__ = ["describe", "find_entry_point", "is_code", "load", "load_config", "resolve", "user_code"]

# Okabe and Ito's palette for all kinds of colour vision, without the yellow, which is too faint on paper; AT is blue,
# TRADES red and AFD green as in Figure A4
BLACK: Final = "#000000"
ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
GREEN: Final = "#009e73"
BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
PURPLE: Final = "#cc79a7"

# places in text, not classes: a recipe is validated without importing torch. Tables show data sets in this order.
DATASETS: Final = Kind(
    noun="data set",
    group="afdctl.datasets",
    base=Descriptor,
    entries={
        "digits": Descriptor(place="afdctl.data.digits:Digits"),
        "mnist": Descriptor(place="afdctl.data.mnist:MNIST", label="MNIST"),
        "fashion_mnist": Descriptor(place="afdctl.data.mnist:FashionMNIST", label="Fashion-MNIST"),
        "cifar10": Descriptor(place="afdctl.data.cifar:CIFAR10", label="CIFAR-10"),
        "cifar100": Descriptor(place="afdctl.data.cifar:CIFAR100", label="CIFAR-100"),
        "tiny_imagenet": Descriptor(
            place="afdctl.data.tiny_imagenet:TinyImageNet", label="Tiny-ImageNet", keys=("image_size",)
        ),
        "folder": Descriptor(place="afdctl.data.image_folder:Folder", keys=("path", "channels", "image_size")),
        "arrays": Descriptor(place="afdctl.data.arrays:Arrays", keys=("path",)),
    },
    methods=("load",),
)
ENCODERS: Final = Kind(
    noun="encoder",
    group="afdctl.encoders",
    base=Descriptor,
    entries={
        "resnet18": Descriptor(place="afdctl.models.resnet:resnet18", keys=("width",)),
        "resnet18_mnist": Descriptor(place="afdctl.models.resnet:resnet18_mnist", keys=("width",)),
        "preact_resnet18": Descriptor(place="afdctl.models.preact_resnet:preact_resnet18", keys=("width",)),
        "preact_resnet18_silu": Descriptor(
            place="afdctl.models.preact_resnet:preact_resnet18", keys=("width",), arguments={"activation": "silu"}
        ),
        "lenet": Descriptor(place="afdctl.models.lenet:lenet", keys=("width",)),
        WIDE_RESNET.prefix: WIDE_RESNET,
        TIMM.prefix: TIMM,
    },
)
DISCRIMINATORS: Final[Mapping[str, str]] = {
    "fc1-pd": "afdctl.models.discriminator:fc1_pd",
    "fc3": "afdctl.models.discriminator:fc3",
    "fc3-pd": "afdctl.models.discriminator:fc3_pd",
}
# tables and legends show methods in this order
DEFENSES: Final = Kind(
    noun="defense",
    group="afdctl.defenses",
    base=DefenseDescriptor,
    entries={
        "natural": DefenseDescriptor(
            place="afdctl.defenses.natural:Natural",
            config="afdctl.recipe.defenses:Natural",
            label="NT",
            short="nt",
            attacked=False,
            passes=3,
            classified="x",
            styles={"": (BLACK, (0, (3.5, 1.5)), "x")},
        ),
        "adversarial": DefenseDescriptor(
            place="afdctl.defenses.adversarial:Adversarial",
            config="afdctl.recipe.defenses:Adversarial",
            label="AT",
            short="at",
            metrics=("acc_adv", "grad_C"),
            passes=3,
            classified="x'",
            one_step={"n_fgsm": "N-FGSM", "pgd": "FGSM-RS"},
            styles={"": (BLUE, (0, (9, 1.5)), "s")},
        ),
        "trades": DefenseDescriptor(
            place="afdctl.defenses.trades:Trades",
            config="afdctl.recipe.defenses:Trades",
            label="TRADES",
            losses=("L_C", "kl"),
            metrics=("acc_nat", "acc_adv"),
            # the adversary that maximises its KL term
            adversary="pgd_kl",
            classified="x",
            styles={"": (RED, (0, (5, 1.2, 1, 1.2)), "^")},
        ),
        "mart": DefenseDescriptor(
            place="afdctl.defenses.mart:Mart",
            config="afdctl.recipe.baselines:Mart",
            label="MART",
            losses=("L_C", "boost", "kl"),
            metrics=("acc_nat", "acc_adv"),
            classified="x'",
            styles={"": (PURPLE, (0, (6, 1.5)), "<")},
        ),
        "score": DefenseDescriptor(
            place="afdctl.defenses.score:Score",
            config="afdctl.recipe.baselines:Score",
            label="SCORE",
            losses=("L_C", "distance"),
            metrics=("acc_nat", "acc_adv"),
            # the adversary that maximises its distance
            adversary="pgd_lse",
            classified="x",
            styles={"": (RED, (0, (2, 0.8)), ">")},
        ),
        "alp": DefenseDescriptor(
            place="afdctl.defenses.alp:LogitPairing",
            config="afdctl.recipe.baselines:LogitPairing",
            label="ALP",
            losses=("L_C", "pairing"),
            metrics=("acc_nat", "acc_adv"),
            classified="both",
            styles={"": (SKY, (0, (4, 1, 1, 1)), "*")},
        ),
        "afd": DefenseDescriptor(
            place="afdctl.defenses.afd:AFD",
            config="afdctl.recipe.defenses:AFD",
            label="AFD",
            losses=("L_C", "L_D", "L_F"),
            metrics=("alpha_h",),
            variant="game",
            styles={
                "dcgan": (ORANGE, (0, (5, 1, 1, 1, 1, 1)), "D"),
                "wgan": (GREEN, "-", "o"),
                "hinge": (SKY, (0, (2, 0.8)), "v"),
            },
        ),
        "matching": DefenseDescriptor(
            place="afdctl.defenses.matching:Matching",
            config="afdctl.recipe.defenses:Matching",
            label="Matching",
            losses=("L_C", "sensitivity"),
            classified="x",
            styles={"": (PURPLE, (0, (1, 1.2)), "P")},
        ),
    },
    methods=("step",),
)
# on the dashboard and in reports, in this order; other losses are called by their name
LOSSES: Final[Mapping[str, Loss]] = {
    "L_C": Loss("L_C", "classifier", "L_C: classification (Eq. 7)", "L_C"),
    "L_D": Loss("L_D", "discriminator", "L_D: discriminator (Eq. 9, 11)", "L_D"),
    "L_F": Loss("L_F", "feature extractor", "L_F: feature (Eq. 10, 12)", "L_F"),
    "kl": Loss("KL", "p(x) against p(x')", "KL term of TRADES and MART", "L_D"),
    "boost": Loss("boost", "likeliest wrong class", "Term of MART for the likeliest wrong class", "L_F"),
    "distance": Loss("‖p(x) − p(x')‖²", "distance", "Squared distance of SCORE", "L_D"),
    "pairing": Loss("pairing", "logits of x and x'", "Logit pairing of ALP", "L_D"),
    "sensitivity": Loss("‖F(x) − F(x')‖", "sensitivity", "Sensitivity term of matching", "L_D"),
}
ADVERSARIES: Final = Kind(
    noun="training adversary",
    group="afdctl.adversaries",
    base=Descriptor,
    entries={
        "apgd_ce": Descriptor(place="afdctl.attacks.apgd:apgd"),
        "pgd": Descriptor(place="afdctl.attacks.pgd:pgd_ce", keys=("step_size",)),
        "pgd_kl": Descriptor(place="afdctl.attacks.pgd:pgd_kl", keys=("step_size",)),
        "pgd_lse": Descriptor(place="afdctl.attacks.pgd:pgd_lse", keys=("step_size",)),
        "n_fgsm": Descriptor(place="afdctl.attacks.n_fgsm:n_fgsm"),
    },
)
ATTACKS: Final = Kind(
    noun="attack",
    group="afdctl.attacks",
    base=Descriptor,
    entries={
        "fgsm": Descriptor(place="afdctl.attacks.fgsm:fgsm", config="afdctl.suites.schema:FGSM"),
        "pgd_linf": Descriptor(place="afdctl.attacks.pgd:pgd_linf", config="afdctl.suites.schema:PGD"),
        "pgd_l2": Descriptor(place="afdctl.attacks.pgd:pgd_l2", config="afdctl.suites.schema:PGD"),
        "pgd_l1": Descriptor(place="afdctl.attacks.pgd:pgd_l1", config="afdctl.suites.schema:PGD"),
        "mim": Descriptor(place="afdctl.attacks.mim:mim", config="afdctl.suites.schema:MIM"),
        "ddn": Descriptor(place="afdctl.attacks.ddn:ddn", config="afdctl.suites.schema:DDN"),
        "deepfool": Descriptor(place="afdctl.attacks.deepfool:deepfool", config="afdctl.suites.schema:DeepFool"),
        "cw": Descriptor(place="afdctl.attacks.carlini_wagner:cw", config="afdctl.suites.schema:CW"),
        "aa": Descriptor(place="afdctl.attacks.autoattack:aa", config="afdctl.suites.autoattack:AA"),
        "apgd_ce": Descriptor(place="afdctl.attacks.autoattack:apgd_ce", config="afdctl.suites.autoattack:APGD"),
        "apgd_dlr": Descriptor(place="afdctl.attacks.autoattack:apgd_dlr", config="afdctl.suites.autoattack:APGD"),
        "apgd_t": Descriptor(place="afdctl.attacks.autoattack:apgd_t", config="afdctl.suites.autoattack:APGDT"),
        "fab_t": Descriptor(place="afdctl.attacks.fab:fab_t", config="afdctl.suites.autoattack:FABT"),
        "square": Descriptor(place="afdctl.attacks.autoattack:square", config="afdctl.suites.autoattack:Square"),
        "apgd_l1": Descriptor(place="afdctl.attacks.autoattack:apgd_l1", config="afdctl.suites.autoattack:APGD"),
        "noise": Descriptor(place="afdctl.attacks.noise:noise", config="afdctl.suites.schema:Noise"),
        "surrogate": Descriptor(place="afdctl.attacks.surrogate:surrogate", config="afdctl.suites.schema:Surrogate"),
    },
)
# in the order of their output
ANALYSES: Final = Kind(
    noun="analysis",
    group="afdctl.analyses",
    base=AnalysisDescriptor,
    entries={
        "pca": AnalysisDescriptor(place="afdctl.analysis.statistics:pca"),
        "units": AnalysisDescriptor(place="afdctl.analysis.statistics:units"),
        "sensitivity": AnalysisDescriptor(place="afdctl.analysis.statistics:sensitivity", needs="grid"),
        "norms": AnalysisDescriptor(place="afdctl.analysis.statistics:norms", needs="grid"),
        "hdh": AnalysisDescriptor(place="afdctl.analysis.divergence:hdh", needs="attacks"),
        "tsne": AnalysisDescriptor(place="afdctl.analysis.embedding:tsne", needs="grid", points=True),
        "umap": AnalysisDescriptor(place="afdctl.analysis.embedding:umap", needs="grid", points=True),
    },
)
