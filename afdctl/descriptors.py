"""What afdctl knows of a name without its code: a descriptor for each name, a kind for each table of names."""

import dataclasses
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from afdctl.name_families import Family


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What afdctl knows of a name without its code. `place` is where the class or function is.

    `label` is the name in tables, charts and messages; the name itself if empty. `config` is the place of the model of
    its keys; empty if its table has no further keys. `keys` are those of its table that not every name of the kind has.
    `arguments` are those of the function, where it has several names.
    """

    place: str
    label: str = ""
    config: str = ""
    keys: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


D = TypeVar("D", bound=Descriptor)


class Loss(NamedTuple):
    """A loss: title and subtitle of its chart on the dashboard, title of its chart in reports, colour role."""

    title: str
    about: str
    report: str
    colour: str


class Kind(Mapping[str, D], Generic[D]):
    """The built-in names of a kind. `noun` is for messages, `group` the entry points, `base` the descriptors' class.

    `methods` are those that a user's class must have; without any, a name is anything that can be called. An entry may
    be a family of names, which are in the kind too, but not in its iteration.
    """

    def __init__(
        self, noun: str, group: str, base: type[D], entries: Mapping[str, D | Family], methods: tuple[str, ...] = ()
    ) -> None:
        self.noun, self.group, self.base, self.methods = noun, group, base, methods
        self.entries = {
            name: dataclasses.replace(entry, label=entry.label or name)
            for name, entry in entries.items()
            if not isinstance(entry, Family)
        }
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
        """The names that messages suggest: with an example of each family, and those of installed entry points."""
        own = [entry.name for entry in entry_points(group=self.group)]
        return list(dict.fromkeys([*self, *(family.example for family in self.families), *own]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


# methods that any defense can have, by their key in [defense]
ADDITIONS: Final[Mapping[str, str]] = {"margin": "HE", "label_smoothing": "LS", "awp_gamma": "AWP"}


def without_additions(method: str) -> str:
    """Return the defense of a method: AT of AT-HE-AWP."""
    for name in reversed([*ADDITIONS.values()]):
        method = method.removesuffix(f"-{name}")
    return method


@dataclasses.dataclass(frozen=True, kw_only=True)
class DefenseDescriptor(Descriptor):
    """A defense: what tables, figures, reports, the dashboard, `bench` and the trainer know of it.

    `short` is its name in `bench --json`, by default its name. `losses` are the losses that `step` reports, `metrics`
    the further ones, whose charts are shown before the first step. `attacked`: `step` calls the adversary. `adversary`
    is the only one that it can train with. `passes` are the forward-equivalents of an update for each image, the attack
    excluded: a forward pass and a backward pass, which costs two, on x and on x'. `classified` names the images of L_C.
    `variant` is the key whose value follows the label, as in AFD-WGAN. `one_step` has its name with an adversary that
    takes one step from a random point. `styles` has colour, dashes and marker in figures, for each value of the variant
    in the order of tables.
    """

    short: str = ""
    losses: tuple[str, ...] = ("L_C",)
    metrics: tuple[str, ...] = ("acc_nat", "grad_C")
    attacked: bool = True
    adversary: str = ""
    passes: int = 6
    classified: str = ""
    variant: str = ""
    one_step: Mapping[str, str] = dataclasses.field(default_factory=dict)
    styles: Mapping[str, tuple[str, Any, str]] = dataclasses.field(default_factory=dict)

    def method(self, defense: Mapping[str, Any], attack: Mapping[str, Any]) -> str:
        """Return the name of a recipe's [defense] and [attack] in tables and figures: AT, N-FGSM, AFD-WGAN, AT-AWP."""
        additions = [f"-{name}" for key, name in ADDITIONS.items() if defense.get(key)]
        one_step = attack.get("steps") == 1 and attack.get("random_start")
        name = self.one_step.get(str(attack.get("name")), "") if one_step else ""
        return (name or self.method_of(str(defense.get(self.variant, "")))) + "".join(additions)

    @property
    def methods(self) -> list[str]:
        """The names that `method` returns, without additions, in the order of tables."""
        return [*map(self.method_of, self.styles), *self.one_step.values()]

    def method_of(self, variant: str) -> str:
        """Return the name of a variant."""
        return f"{self.label}-{variant.upper()}" if variant else self.label


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisDescriptor(Descriptor):
    """An analysis: `needs` features of natural images, also under the attack whose strength varies ("grid"), or under
    all "attacks". `points`: it shows a number of images as points in a plane.
    """

    needs: Literal["natural", "grid", "attacks"] = "natural"
    points: bool = False
