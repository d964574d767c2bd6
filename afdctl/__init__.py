"""afdctl: train adversarially robust image classifiers, from the terminal and from Python.

Each public name is imported when it is first used: `import afdctl` is quick, and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from afdctl.analysis.base import AnalysisResult as AnalysisResult
    from afdctl.analysis.masking import Diagnosis as Diagnosis
    from afdctl.analysis.own import AnalysisConfig as AnalysisConfig
    from afdctl.api.diagnosis import diagnose as diagnose
    from afdctl.api.evaluation import attack as attack
    from afdctl.api.evaluation import check as check
    from afdctl.api.evaluation import evaluate as evaluate
    from afdctl.api.loaded_run import LoadedRun as LoadedRun
    from afdctl.api.runs import load_model as load_model
    from afdctl.api.runs import load_run as load_run
    from afdctl.api.runs import resume as resume
    from afdctl.api.runs import train as train
    from afdctl.attacks.base import AttackResult as AttackResult
    from afdctl.data.base import Dataset as Dataset
    from afdctl.data.base import DatasetLoader as DatasetLoader
    from afdctl.data.base import ImageTensors as ImageTensors
    from afdctl.defenses.base import Defense as Defense
    from afdctl.errors import AfdctlError as AfdctlError
    from afdctl.errors import BusyError as BusyError
    from afdctl.errors import CorruptError as CorruptError
    from afdctl.errors import DataMissingError as DataMissingError
    from afdctl.errors import DiskFullError as DiskFullError
    from afdctl.errors import DivergedError as DivergedError
    from afdctl.errors import NoResultsError as NoResultsError
    from afdctl.errors import NotFoundError as NotFoundError
    from afdctl.errors import RecipeError as RecipeError
    from afdctl.errors import StoppedError as StoppedError
    from afdctl.evaluation.images import VerifiedResult as VerifiedResult
    from afdctl.evaluation.request import Evaluation as Evaluation
    from afdctl.recipe import Recipe as Recipe
    from afdctl.recipe.adversary import AdversaryConfig as AdversaryConfig
    from afdctl.recipe.defenses import DefenseConfig as DefenseConfig
    from afdctl.suites.attack_config import AttackConfig as AttackConfig

# public name -> its module; a test holds them equal to the imports above
_PLACES = {
    **dict.fromkeys(("attack", "check", "evaluate"), "afdctl.api.evaluation"),
    **dict.fromkeys(("load_model", "load_run", "resume", "train"), "afdctl.api.runs"),
    **dict.fromkeys(
        (
            *("AfdctlError", "BusyError", "CorruptError", "DataMissingError", "DiskFullError", "DivergedError"),
            *("NoResultsError", "NotFoundError", "RecipeError", "StoppedError"),
        ),
        "afdctl.errors",
    ),
    "AnalysisConfig": "afdctl.analysis.own",
    "AnalysisResult": "afdctl.analysis.base",
    "AttackConfig": "afdctl.suites.attack_config",
    "AttackResult": "afdctl.attacks.base",
    **dict.fromkeys(("Dataset", "DatasetLoader", "ImageTensors"), "afdctl.data.base"),
    "AdversaryConfig": "afdctl.recipe.adversary",
    "DefenseConfig": "afdctl.recipe.defenses",
    "Defense": "afdctl.defenses.base",
    "Diagnosis": "afdctl.analysis.masking",
    "diagnose": "afdctl.api.diagnosis",
    "Evaluation": "afdctl.evaluation.request",
    "LoadedRun": "afdctl.api.loaded_run",
    "Recipe": "afdctl.recipe",
    "VerifiedResult": "afdctl.evaluation.images",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'afdctl' has no attribute '{name}'")
    value = getattr(import_module(_PLACES[name]), name)
    # the next use does not come here
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
