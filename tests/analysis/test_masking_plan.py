"""What the masking diagnosis runs on demand: only what is missing, on the images of the stored results."""

from typing import Any

import pytest

from afdctl.analysis import masking_plan
from afdctl.analysis.masking_plan import IMAGES, planned, request_missing, stored_curves
from afdctl.errors import RecipeError
from afdctl.evaluation.request import EvaluationRequest
from afdctl.evaluation.target import EvaluationTarget
from afdctl.suites.load import Suite
from afdctl.suites.schema import ATTACKS
from tests.analysis.conftest import MakeSubject


def missing(subject: EvaluationTarget, epsilon: float = 0.1, **images: Any) -> EvaluationRequest:
    request = request_missing(subject, epsilon=epsilon, **{"limit": None, "first": None, "seed": 3} | images)
    assert request
    return request


def titles(request: EvaluationRequest) -> list[str]:
    return [config.title for config in request.suites["digits"].attacks]


ALL = ["fgsm", "pgd_linf", "apgd_t", "deepfool", "square", "noise", "surrogate", "pgd_grey"]


def test_a_target_without_results_gets_all_attacks_at_its_epsilon(make_subject: MakeSubject):
    subject = make_subject()
    request = missing(subject)
    assert titles(request) == ALL
    assert (request.limit, request.first, request.seed) == (IMAGES, None, 3)
    grids = {config.title: config.epsilons for config in planned(subject, 0.1)}
    assert grids.pop("fgsm") == (0.0, 0.05, 0.1)
    assert grids.pop("pgd_grey") == (0.0, 0.1, 0.5)
    assert set(grids.values()) == {(0.0, 0.1)}


def test_a_ball_that_holds_a_common_grey_needs_no_larger_one(make_subject: MakeSubject):
    assert "pgd_grey" not in [config.title for config in planned(make_subject(), 0.5)]


def test_stored_results_are_completed_on_their_images(make_subject: MakeSubject):
    subject = make_subject()
    fgsm = Suite("mine", (ATTACKS["fgsm"](name="fgsm", epsilons=(0.0, 0.1)),))
    EvaluationRequest(suites={"digits": fgsm}, first=10, batch_size=10).runner([subject]).run()
    request = missing(subject, batch_size=10)
    assert titles(request) == ALL[1:]
    assert (request.limit, request.first, request.batch_size) == (None, 10, 10)
    assert titles(missing(subject, first=5)) == ALL[1:]
    # on other images, and at another epsilon, the stored result serves nothing
    assert titles(missing(subject, limit=5)) == titles(missing(subject, first=20)) == ALL
    assert titles(missing(subject, epsilon=0.2)) == ALL


def test_results_whose_images_are_damaged_do_not_count(make_subject: MakeSubject):
    subject = make_subject()
    fgsm = Suite("mine", (ATTACKS["fgsm"](name="fgsm", epsilons=(0.0, 0.1)),))
    EvaluationRequest(suites={"digits": fgsm}, first=10, batch_size=10).runner([subject]).run()
    (curve,) = stored_curves(subject)
    (subject.run.shards / curve.cells[-1]["shard"]).write_bytes(b"")
    assert stored_curves(subject) == []


def test_a_norm_without_a_plan(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(masking_plan, "nominal_ball", lambda *_: ("l1", 1.0))
    with pytest.raises(RecipeError, match=r"^model: no attacks are planned in l1; add --stored "):
        missing(make_subject())
