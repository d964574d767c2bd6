"""`afdctl.diagnose`: whether a network is robust, or only looks so."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from afdctl.analysis import masking_plan
from afdctl.analysis.masking import Diagnosis
from afdctl.api.evaluation import check_module, checked_mapping, given_images, sweep_progress
from afdctl.api.runs import RUN_OR_MODULE, AnyRun, Progress, as_path, check_kind, load_target
from afdctl.errors import NoResultsError, RecipeError, python_call
from afdctl.evaluation import thresholds as all_thresholds
from afdctl.evaluation.given import given_target
from afdctl.evaluation.target import EvaluationTarget
from afdctl.image_counts import check_images
from afdctl.interrupts import within_a_program
from afdctl.suites.attack_config import as_grid
from afdctl.training import setup


@python_call()
def diagnose(
    target: AnyRun | nn.Module,
    *,
    data: str | tuple[Tensor, Tensor] | None = None,
    epsilon: float | str | None = None,
    thresholds: Mapping[str, Any] | None = None,
    stored: bool = False,
    limit: int | None = None,
    first: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    checkpoint: str = "best",
    runs: str | Path = "runs",
    device: str = "auto",
    data_dir: str | Path | None = None,
    progress: Progress = False,
) -> list[Diagnosis]:
    """Diagnose masked gradients, as `afdctl analyze --masking` does, after running the attacks that are missing.

    Returns a diagnosis for each norm. A module needs `data`, as in `evaluate`. `epsilon` is by default that of the
    training; of a module 0.3 on MNIST and Fashion-MNIST, 0.1 on digits and 8/255 on all other images, in L-infinity.
    `thresholds` changes some, such as `{"D7.fail": 0.2}`. With `stored`, nothing is attacked; with `epsilon`, results
    at no other one are judged. Error: NoResultsError where there is nothing to judge.
    """
    check_images(limit, first)
    check_kind(target, "target", RUN_OR_MODULE)
    limits = all_thresholds.load(None, checked_mapping(thresholds, "thresholds", {"D7.fail": 0.2}))
    radius = None if epsilon is None else as_grid([epsilon], "epsilon")[-1]
    folder = as_path(data_dir)
    where: dict[str, Any] = {"runs": runs, "device": setup.choose_device(device), "data_dir": folder}
    given: AbstractContextManager[EvaluationTarget]
    with within_a_program():
        if isinstance(target, nn.Module):
            check_module(target)
            given = given_target(target, given_images(data, folder))
            if stored:
                raise NoResultsError("stored: a torch module has no stored results; leave it out")
        elif data is not None:
            raise RecipeError("data: is for a torch module; a run brings its own test images")
        else:
            given = nullcontext(load_target(target, checkpoint, **where, make=not stored))
        with given as found:
            # a wrong epsilon is one with `stored` too
            masking_plan.nominal_ball(found, radius)
            options = {"epsilon": radius, "limit": limit, "first": first, "seed": seed, "batch_size": batch_size}
            runner = None if stored else masking_plan.runner_of_missing(found, **options)
            if runner:
                with sweep_progress(progress, runner):
                    runner.run()
            diagnoses = masking_plan.judge(found, limits, limit, first, radius)
            if not diagnoses:
                remedy = "leave `stored` out, or `evaluate` it"
                raise NoResultsError(f"{found.name}: no attacks to compare are stored; {remedy}")
            return diagnoses
