"""Attacks of other libraries by name: `advlib:fmn` of adversarial-library, `foolbox:HopSkipJumpAttack` of foolbox.

Libraries are imported when one of their attacks is named.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from types import ModuleType, NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from warnings import catch_warnings, simplefilter

from afdctl.errors import AfdctlError, RecipeError
from afdctl.formatting import did_you_mean

# the order p of a norm, as both libraries name it
ORDERS: Final = {"linf": float("inf"), "l2": 2.0, "l1": 1.0, "l0": 0.0}
# their arguments that afdctl gives, or that are no settings
GIVEN: Final = {"targeted", "callback", "distance", "constraint", "init_attack", "tensorboard", "starting_points"}
GREEK: Final = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "ε": "epsilon",
    "η": "eta",
    "μ": "mu",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
}


@dataclass(frozen=True)
class Library:
    """Where a library's attacks are, and how it is installed."""

    module: str
    distribution: str
    install: str


LIBRARIES: Final[Mapping[str, Library]] = {
    # its dependency visdom does not build with today's setuptools, and is for plots only
    "advlib": Library("adv_lib.attacks", "adv-lib", "pip install --no-deps adv-lib tqdm"),
    "foolbox": Library("foolbox.attacks", "foolbox", "pip install 'afdctl[foolbox]'"),
}


@dataclass(frozen=True, eq=False)
class LibraryAttack:
    """An attack of a library: a function of adversarial-library, or a class of foolbox.

    `norms` are those that it has, its default first. `norm_argument` and `budget` name its arguments for the norm and
    for epsilon; without a budget it minimises the norm. `settings` maps a key to the argument, its type and default.
    """

    name: str
    call: Callable[..., Any]
    norms: tuple[str, ...]
    norm_argument: str | None
    budget: str | None
    settings: Mapping[str, tuple[str, Any, Any]]

    @property
    def library(self) -> str:
        """The prefix of the name."""
        return self.name.partition(":")[0]

    @property
    def version(self) -> str:
        """Name and version of the library, which decide the result."""
        distribution = LIBRARIES[self.library].distribution
        return f"{distribution} {version(distribution)}"


# function -> (norms, its argument for the norm, its argument for epsilon); others have no ball in one of the norms
ADVLIB: Final[Mapping[str, tuple[tuple[str, ...], str | None, str | None]]] = {
    "alma": (("l2", "l1"), "distance", None),
    "apgd": (("linf", "l2", "l1"), "norm", "eps"),
    "apgd_targeted": (("linf", "l2", "l1"), "norm", "eps"),
    "carlini_wagner_l2": (("l2",), None, None),
    "carlini_wagner_linf": (("linf",), None, None),
    "ddn": (("l2",), None, None),
    "df": (("l2", "linf"), "norm", None),
    "fab": (("linf", "l2", "l1"), "norm", None),
    "fga": (("l0",), None, None),
    "fmn": (("l2", "linf", "l1", "l0"), "norm", None),
    "pdgd": (("l2",), None, None),
    "pdpgd": (("l2", "linf", "l1", "l0"), "norm", None),
    "pgd_linf": (("linf",), None, "ε"),
    "sdf": (("l2",), None, None),
    "sigma_zero": (("l0",), None, None),
    "tr": (("l2", "linf"), "p", None),
    "vfga": (("l0",), None, None),
}


def is_library_attack(name: str) -> bool:
    """Return whether a name has the prefix of a library."""
    return name.partition(":")[0] in LIBRARIES and ":" in name


@cache
def find(name: str) -> LibraryAttack:
    """Import a library and return its attack. Errors: RecipeError for an unknown name, AfdctlError without library."""
    library, _, attack = name.partition(":")
    module = _import(library)
    if library == "advlib":
        if attack not in ADVLIB:
            raise RecipeError(f"{name}: no such attack of adversarial-library ({did_you_mean(attack, ADVLIB)})")
        call, (norms, norm_argument, budget) = getattr(module, attack), ADVLIB[attack]
        signature, hints = inspect.signature(call), get_type_hints(call)
        parameters = list(signature.parameters.values())[3:]
    else:
        call = _foolbox_class(module, name, attack)
        norms, norm_argument = _foolbox_norms(call)
        budget = "epsilon" if _is_kind(call, "FixedEpsilonAttack") else None
        signature, hints = inspect.signature(call), get_type_hints(call.__init__)
        parameters = list(signature.parameters.values())
    settings = {
        _key(parameter.name): (parameter.name, hints[parameter.name], parameter.default)
        for parameter in parameters
        if parameter.name not in GIVEN | {norm_argument, budget} and _is_plain(hints.get(parameter.name))
    }
    return LibraryAttack(
        name=name, call=call, norms=norms, norm_argument=norm_argument, budget=budget, settings=settings
    )


def _import(library: str) -> ModuleType:
    place = LIBRARIES[library]
    if library == "advlib":
        # imported for plots that no attack draws unless asked
        sys.modules.setdefault("visdom", ModuleType("visdom"))
    try:
        # a library's deprecation warnings say nothing to a user of afdctl
        with catch_warnings():
            simplefilter("ignore")
            return import_module(place.module)
    except ImportError as error:
        raise AfdctlError(
            f"attacks {library}:NAME need {place.distribution} ({error}); install with `{place.install}`"
        ) from None


def _foolbox_class(module: ModuleType, name: str, attack: str) -> Any:
    classes = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value) and (_is_kind(value, "FixedEpsilonAttack") or _is_kind(value, "MinimizationAttack"))
    ]
    if attack not in classes:
        raise RecipeError(f"{name}: no such attack of foolbox ({did_you_mean(attack, classes)})")
    return getattr(module, attack)


def _is_kind(value: Any, base: str) -> bool:
    return any(parent.__name__ == base for parent in inspect.getmro(value))


def _foolbox_norms(attack: Any) -> tuple[tuple[str, ...], str | None]:
    parameters = inspect.signature(attack).parameters
    if "constraint" in parameters:
        return ("l2", "linf"), "constraint"
    if _is_kind(attack, "FlexibleDistanceMinimizationAttack"):
        return ("l2", "linf", "l1", "l0"), "distance" if "distance" in parameters else None
    distance = attack.distance if not isinstance(attack.distance, property) else attack().distance
    return tuple(norm for norm, order in ORDERS.items() if order == distance.p), None


def _key(argument: str) -> str:
    """Write Greek letters out, as TOML's keys and shells have ASCII."""
    return "".join(GREEK.get(letter, letter) for letter in argument)


def _is_plain(hint: Any) -> bool:
    """Return whether a type is that of a setting: a number, text, a choice of texts, or none of these."""
    if get_origin(hint) in (Union, UnionType):
        return all(map(_is_plain, get_args(hint)))
    return get_origin(hint) is Literal or hint in (int, float, bool, str, NoneType)
