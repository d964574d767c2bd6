"""The names that recipes and suites may use, and what afdctl knows of each; their code is imported only when loaded.

A name is one of the tables below, an installed entry point, or a user's code: `path/to/file.py:Name` or
`package.module:Name`. For a command, an option or a key that takes a name of a kind:

    name = resolve(DEFENSES, text, folder)   # absolute and unique; RecipeError for an unknown name; executes nothing
    load(DEFENSES, name)                     # the class or function; executes a user's file, after `code.announcers`
    describe(DEFENSES, name)                 # its descriptor: label, losses, ...; a user's code has them as attributes
    user_code(DEFENSES, name)                # a `UserCode`, or None of a built-in name: `digest()` and `files()` for
                                             # keys and provenance, `running()` around every call, for its errors
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar

from afdctl.errors import NotFoundError, RecipeError
from afdctl.formatting import did_you_mean, shorten
from afdctl.name_families import TIMM, WIDE_RESNET, Family
from afdctl.user_code import code
from afdctl.user_code.code import Spec, UserCode


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What afdctl knows of a name without its code. `place` is where the class or function is.

    `label` is the name in tables, charts and messages; the name itself if empty. `config` is the place of the model of
    its keys; empty if its table has no further keys. `arguments` are those of the function, where it has several names.
    """

    place: str
    label: str = ""
    config: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


D = TypeVar("D", bound=Descriptor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderDescriptor(Descriptor):
    """An encoder. `keys` are those of [model] that not every encoder has."""

    keys: tuple[str, ...] = ()


class Kind(Mapping[str, D], Generic[D]):
    """The built-in names of a kind. `noun` is for messages, `group` the entry points, `base` the descriptors' class.

    An entry may be a family of names, which are in the kind too, but not in its iteration.
    """

    def __init__(self, noun: str, group: str, base: type[D], entries: Mapping[str, D | Family]) -> None:
        self.noun, self.group, self.base = noun, group, base
        self.entries = {name: entry for name, entry in entries.items() if not isinstance(entry, Family)}
        self.families = tuple(entry for entry in entries.values() if isinstance(entry, Family))

    def __getitem__(self, name: str) -> D:
        family = self.family_of(name)
        if family is None:
            return self.entries[name]
        arguments = family.arguments(name)
        if arguments is None:
            raise KeyError(name)
        return self.base(place=family.place, label=name, arguments=arguments)

    def family_of(self, name: str) -> Family | None:
        """Return the family whose prefix a name has, right or wrong."""
        return next((family for family in self.families if name.startswith(family.prefix)), None)

    @property
    def suggestions(self) -> list[str]:
        """The names that messages suggest, with an example of each family."""
        return [*self, *(family.example for family in self.families)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


# places in text, not classes: a recipe is validated without importing torch
DATASETS: Final = Kind(
    "data set",
    "afdctl.datasets",
    Descriptor,
    {
        "digits": Descriptor(place="afdctl.data.digits:Digits"),
        "mnist": Descriptor(place="afdctl.data.mnist:MNIST"),
        "fashion_mnist": Descriptor(place="afdctl.data.mnist:FashionMNIST"),
        "cifar10": Descriptor(place="afdctl.data.cifar:CIFAR10"),
        "cifar100": Descriptor(place="afdctl.data.cifar:CIFAR100"),
        "tiny_imagenet": Descriptor(place="afdctl.data.tiny_imagenet:TinyImageNet"),
        "folder": Descriptor(place="afdctl.data.image_folder:Folder"),
        "arrays": Descriptor(place="afdctl.data.arrays:Arrays"),
    },
)
ENCODERS: Final = Kind(
    "encoder",
    "afdctl.encoders",
    EncoderDescriptor,
    {
        "resnet18": EncoderDescriptor(place="afdctl.models.resnet:resnet18", keys=("width",)),
        "resnet18_mnist": EncoderDescriptor(place="afdctl.models.resnet:resnet18_mnist", keys=("width",)),
        "preact_resnet18": EncoderDescriptor(place="afdctl.models.preact_resnet:preact_resnet18", keys=("width",)),
        "preact_resnet18_silu": EncoderDescriptor(
            place="afdctl.models.preact_resnet:preact_resnet18", keys=("width",), arguments={"activation": "silu"}
        ),
        "lenet": EncoderDescriptor(place="afdctl.models.lenet:lenet", keys=("width",)),
        WIDE_RESNET.prefix: WIDE_RESNET,
        TIMM.prefix: TIMM,
    },
)
DISCRIMINATORS: Final[Mapping[str, str]] = {
    "fc1-pd": "afdctl.models.discriminator:fc1_pd",
    "fc3": "afdctl.models.discriminator:fc3",
    "fc3-pd": "afdctl.models.discriminator:fc3_pd",
}
DEFENSES: Final = Kind(
    "defense",
    "afdctl.defenses",
    Descriptor,
    {
        "natural": Descriptor(place="afdctl.defenses.natural:Natural"),
        "adversarial": Descriptor(place="afdctl.defenses.adversarial:Adversarial"),
        "trades": Descriptor(place="afdctl.defenses.trades:Trades"),
        "afd": Descriptor(place="afdctl.defenses.afd:AFD"),
        "matching": Descriptor(place="afdctl.defenses.matching:Matching"),
    },
)
ADVERSARIES: Final = Kind(
    "training adversary",
    "afdctl.adversaries",
    Descriptor,
    {
        "apgd_ce": Descriptor(place="afdctl.attacks.apgd:apgd"),
        "pgd": Descriptor(place="afdctl.attacks.pgd:pgd_ce"),
        "pgd_kl": Descriptor(place="afdctl.attacks.pgd:pgd_kl"),
        "n_fgsm": Descriptor(place="afdctl.attacks.n_fgsm:n_fgsm"),
    },
)
ATTACKS: Final = Kind(
    "attack",
    "afdctl.attacks",
    Descriptor,
    {
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisDescriptor(Descriptor):
    """An analysis: `needs` features of natural images, also under the attack whose strength varies ("grid"), or under
    all "attacks". `points`: it shows a number of images as points in a plane.
    """

    needs: Literal["natural", "grid", "attacks"] = "natural"
    points: bool = False


# in the order of their output
ANALYSES: Final = Kind(
    "analysis",
    "afdctl.analyses",
    AnalysisDescriptor,
    {
        "pca": AnalysisDescriptor(place="afdctl.analysis.statistics:pca"),
        "units": AnalysisDescriptor(place="afdctl.analysis.statistics:units"),
        "sensitivity": AnalysisDescriptor(place="afdctl.analysis.statistics:sensitivity", needs="grid"),
        "norms": AnalysisDescriptor(place="afdctl.analysis.statistics:norms", needs="grid"),
        "hdh": AnalysisDescriptor(place="afdctl.analysis.divergence:hdh", needs="attacks"),
        "tsne": AnalysisDescriptor(place="afdctl.analysis.embedding:tsne", needs="grid", points=True),
        "umap": AnalysisDescriptor(place="afdctl.analysis.embedding:umap", needs="grid", points=True),
    },
)


def is_code(name: str) -> bool:
    """Return whether a name is a place in a user's code, not a word."""
    return ":" in name


def resolve(kind: Kind[D], name: str, folder: Path) -> str:
    """Return the name with an absolute path, where `folder` is that of the file with the name; execute nothing.

    Built-in names and entry points are returned as they are. Errors: RecipeError for an unknown name, whose message
    begins with the reason, and for a place without a name in it.
    """
    if name in kind or find_entry_point(kind, name):
        return name
    if family := kind.family_of(name):
        raise RecipeError(family.form)
    if is_code(name):
        return str(Spec.parse(name, folder))
    hint = did_you_mean(name, [*kind.suggestions, *(entry.name for entry in entry_points(group=kind.group))])
    raise RecipeError(f"no such {kind.noun} ({hint}); code of your own is path/to/file.py:Name")


def find_entry_point(kind: Kind[D], name: str) -> EntryPoint | None:
    """Return the installed entry point of a name, the first one where several packages have it."""
    return next(iter(entry_points(group=kind.group, name=name)), None)


def load(kind: Mapping[str, Any], name: str) -> Any:
    """Import and return the class or function of a name that `resolve` returned.

    Errors of a user's code: RecipeError with its file and line, NotFoundError for a missing file or package.
    """
    if name in kind:
        entry = kind[name]
        found = _import(entry.place if isinstance(entry, Descriptor) else entry)
        arguments = entry.arguments if isinstance(entry, Descriptor) else {}
        return partial(found, **arguments) if arguments else found
    assert isinstance(kind, Kind)
    spec = _spec_of(kind, name)
    return code.load(spec, Path.cwd()).find(spec.name)


def load_config(kind: Kind[D], name: str) -> Any:
    """Import and return the model of the keys of a built-in name."""
    return _import(kind[name].config)


def user_code(kind: Kind[D], name: str) -> UserCode | None:
    """Load a name's code; None for a built-in name."""
    return None if name in kind else code.load(_spec_of(kind, name), Path.cwd())


def describe(kind: Kind[D], name: str, recorded: Mapping[str, Any] | None = None) -> D:
    """Return the descriptor of a name: built-in, as a run recorded it, or from the attributes of a user's code."""
    if name in kind:
        return kind[name]
    if recorded is None:
        found = load(kind, name)
        recorded = {field.name: getattr(found, field.name) for field in _fields(kind) if hasattr(found, field.name)}
    known = {field.name for field in _fields(kind)}
    values = {"label": _spec_name(name), **{key: value for key, value in recorded.items() if key in known}}
    return kind.base(**{**values, "place": name})


def _import(place: str) -> Any:
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)


def _fields(kind: Kind[D]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind.base)


def _spec_name(name: str) -> str:
    return name.rpartition(":")[2]


def _spec_of(kind: Kind[D], name: str) -> Spec:
    if is_code(name):
        return Spec.parse(name, Path.cwd())
    if entry := find_entry_point(kind, name):
        return Spec(entry.module, entry.attr)
    raise NotFoundError(
        f"{kind.noun} '{shorten(name)}': no such name; it was the entry point of a package that is not installed"
    )
