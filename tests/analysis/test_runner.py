"""Test that features are computed once, and again only when their inputs change."""

import json
import os
from dataclasses import replace
from signal import SIGTERM
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from afdctl.analysis.base import AnalysisRequest
from afdctl.analysis.extraction import make_extractor
from afdctl.analysis.runner import AnalysisRunner
from afdctl.data.subset import Subset
from afdctl.errors import AfdctlError, BusyError, RecipeError, StoppedError
from afdctl.evaluation.target import EvaluationTarget
from afdctl.journal import Row, read_rows
from afdctl.runs import results_file, shards
from afdctl.runs.run import Run
from afdctl.suites.attack_config import AttackConfig
from afdctl.suites.schema import ATTACKS
from tests.analysis.conftest import MakeSubject, N

EPSILONS = (0.0, 0.05, 0.1)


def spec(name: str, epsilons: tuple[float, ...] = EPSILONS, **knobs: Any) -> AttackConfig:
    return ATTACKS[name](name=name, epsilons=epsilons, **knobs)


PGD, DDN = spec("pgd_linf", steps=3), spec("ddn", (0.0, 0.2, 0.5), norm="l2", steps=5)


def study(
    subject: EvaluationTarget,
    *names: str,
    attacks: tuple[AttackConfig, ...] = (PGD, DDN),
    batch_size: int = 16,
    **more: Any,
) -> AnalysisRunner:
    facts: dict[str, Any] = {"grid": PGD, "seed": 0, "points": 10, **more}
    subset = Subset.of(N, limit=facts.pop("limit", None), first=facts.pop("first", None))
    request = AnalysisRequest(names=names or ("pca",), attacks=attacks, subset=subset, **facts)
    return AnalysisRunner(subject, request, discriminator=None, batch_size=batch_size)


def rows(run: Run, event: str) -> list[Row]:
    return [row for row in read_rows(run.journal_path) if row["event"] == event]


def attacked(subject: EvaluationTarget) -> list[tuple[str, float]]:
    return [(row["attack"], row["epsilon"]) for row in rows(subject.run, "features") if row["attack"]]


ALL = [("pgd_linf", 0.05), ("pgd_linf", 0.1), ("ddn", 0.2), ("ddn", 0.5)]


def test_what_several_analyses_need_is_computed_once(make_subject: MakeSubject, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("afdctl.analysis.divergence.PROBE_STEPS", 10)
    subject = make_subject()
    study(subject, "sensitivity", "norms", "tsne").run()
    assert attacked(subject) == ALL[:2]
    study(subject, "hdh").run()
    assert attacked(subject) == ALL
    before = subject.run.journal_path.read_bytes()
    found = study(subject, "hdh", "sensitivity").run()
    assert list(found) == ["hdh", "sensitivity"]
    assert subject.run.journal_path.read_bytes() == before


def test_a_look_at_fewer_images_does_not_replace_what_is_there(make_subject: MakeSubject):
    """A quick try would else be what tables, figures and results.h5 show from then on."""
    subject = make_subject()
    study(subject, "units").run()
    quick = study(subject, "units", limit=20)
    assert quick.run()["units"]["n"] == 20
    assert [line for line in quick.shown_instead() if f"of {N} images" in line]
    study(subject, "units", limit=20).run()
    study(subject, "units").run()
    assert [row["n"] for row in rows(subject.run, "analysis")] == [N, 20]
    assert [row["n"] for row in rows(subject.run, "features")] == [N, 20]
    with h5py.File(subject.run.results_path) as file:
        assert file["analysis/units"].attrs["n"] == N
        assert len(file["features/natural/z"]) == N


def test_the_images_are_those_of_the_sample(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "tsne", "norms").run()
    study(subject, "tsne", first=20).run()
    order = np.random.RandomState(0).permutation(N)
    for limit in (20, 25):
        study(replace(subject, digest="another"), "tsne", "norms", limit=limit, points=limit - 5).run()
    natural = [shards.read(subject.run, row["shard"]) for row in rows(subject.run, "features") if not row["attack"]]
    assert [len(arrays["index"]) for arrays in natural] == [N, 20, 20, 25]
    assert natural[1]["index"].tolist() == list(range(20))
    assert natural[3]["index"].tolist() == order[:25].tolist()
    for arrays in natural[1:]:
        np.testing.assert_array_equal(arrays["label"], natural[0]["label"][arrays["index"]])
        np.testing.assert_allclose(arrays["z"], natural[0]["z"][arrays["index"]], atol=1e-5)
    embedded = shards.read(subject.run, rows(subject.run, "analysis")[-2]["shard"])
    assert len(embedded["index"]) == 20
    np.testing.assert_array_equal(embedded["label"], natural[0]["label"][embedded["index"]])
    with h5py.File(subject.run.results_path) as file:
        assert file["analysis/norms"].attrs["subset"] == "sample"
        assert file["analysis/norms/index"][:].tolist() == order[:25].tolist()


def test_a_sample_and_the_first_images_do_not_replace_one_another_silently(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "units", first=20).run()
    sample = study(subject, "units", limit=20)
    sample.run()
    replaced = (
        "results.h5, tables and figures now have units of 20 images (random sample), in place of the first 20 images"
    )
    assert sample.shown_instead() == [replaced]
    again = study(subject, "units", first=20)
    again.run()
    assert again.shown_instead() == ["results.h5, tables and figures keep units of 20 images (random sample)"]


def test_what_was_asked_for_last_of_as_many_images_is_what_results_h5_shows(make_subject: MakeSubject):
    subject = make_subject()
    for seed in (0, 1, 0):
        study(subject, "units", seed=seed).run()
    assert [row["seed"] for row in rows(subject.run, "analysis")] == [0, 1, 0]
    with h5py.File(subject.run.results_path) as file:
        assert file["analysis/units"].attrs["seed"] == 0


ONE_STEP = spec("pgd_linf", steps=1)


def shown(run: Run) -> dict[str, int]:
    """How many steps the attack had whose features results.h5 shows, by epsilon."""
    with h5py.File(run.results_path) as file:
        found = file["features/pgd_linf"]
        return {at: json.loads(found[at].attrs["spec"])["steps"] for at in found}


def test_features_are_those_of_the_analyses_that_count(make_subject: MakeSubject):
    subject = make_subject()
    for grid, steps in ((PGD, 3), (ONE_STEP, 1), (PGD, 3)):
        study(subject, "sensitivity", grid=grid).run()
        assert shown(subject.run) == {"0.05": steps, "0.1": steps}
    # as many steps as no suite has, of fewer images, and at other epsilons
    study(subject, "sensitivity", grid=ONE_STEP, changed=("steps",)).run()
    study(subject, "sensitivity", grid=ONE_STEP, limit=20).run()
    assert shown(subject.run) == {"0.05": 3, "0.1": 3}
    study(subject, "sensitivity", grid=spec("pgd_linf", (0.0, 0.1), steps=2)).run()
    assert shown(subject.run) == {"0.1": 2}
    # where two analyses are of different features, those of the newer one
    study(subject, "norms", grid=ONE_STEP).run()
    assert shown(subject.run) == {"0.05": 1, "0.1": 1}


def test_attacks_of_ones_own_change_only_what_compares_them(make_subject: MakeSubject):
    one = study(make_subject(), "pca", "sensitivity", "hdh", changed=("steps", "attacks"))
    assert [one._changed(name) for name in one.request.names] == [[], ["steps"], ["steps", "attacks"]]


def test_a_check_that_the_journal_lacks_is_written_though_no_analysis_is(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "pca").run()
    facts = {"checkpoint": subject.digest, "data": "data", "version": 1, "n": N, "warnings": ["random"]}
    checked = replace(subject, check={"event": "sanity_check", **facts})
    for _ in range(2):
        study(checked, "pca").run()
        assert [row["warnings"] for row in rows(subject.run, "sanity_check")] == [["random"]]


def test_another_checkpoint_replaces_it_with_fewer_images_too(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "units").run()
    study(replace(subject, digest="another"), "units", limit=20).run()
    with h5py.File(subject.run.results_path) as file:
        assert file["analysis/units"].attrs["n"] == 20


def test_a_damaged_results_h5_is_rebuilt(make_subject: MakeSubject):
    run = make_subject().run
    study(make_subject(), "units").run()
    whole = run.results_path.read_bytes()
    run.results_path.write_bytes(whole[:500])
    study(make_subject(), "units").run()
    assert run.results_path.read_bytes() == whole


def test_dimensions_need_no_attack(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "pca", "units").run()
    assert attacked(subject) == []


@pytest.mark.parametrize("change", ["checkpoint", "data", "seed", "n"])
def test_features_are_computed_again_when_their_inputs_change(make_subject: MakeSubject, change: str):
    subject = make_subject()
    study(subject, "sensitivity").run()
    if change == "checkpoint":
        subject = replace(subject, digest="another")
    elif change == "data":
        subject = replace(subject, data_digest="another")
    study(
        subject, "sensitivity", **{"seed": {"seed": 1}, "n": {"limit": 20}, "subset": {"first": N - 1}}.get(change, {})
    ).run()
    assert attacked(subject) == ALL[:2] * 2


def test_a_damaged_shard_is_made_again(make_subject: MakeSubject):
    subject = make_subject()
    first = study(subject, "sensitivity").run()["sensitivity"]
    shard = next(row["shard"] for row in rows(subject.run, "features") if row["epsilon"] == 0.1)
    (subject.run.shards / shard).write_bytes(b"damaged")
    (subject.run.shards / first["shard"]).unlink()
    results_file.build(subject.run)
    with h5py.File(subject.run.results_path) as file:
        assert list(file["features/pgd_linf"]) == ["0.05"]
    again = study(subject, "sensitivity").run()["sensitivity"]
    assert attacked(subject) == [*ALL[:2], ("pgd_linf", 0.1)]
    assert again["metrics"] == first["metrics"]


def test_results_do_not_depend_on_the_batch(make_subject: MakeSubject):
    one = study(make_subject("one", digest="same"), "sensitivity", "norms", batch_size=40).run()
    other = study(make_subject("other", digest="same"), "sensitivity", "norms", batch_size=7).run()
    for name in one:
        for key, value in one[name]["metrics"].items():
            if key not in ("attack", "norm"):
                np.testing.assert_allclose(flat(value), flat(other[name]["metrics"][key]), rtol=1e-4, atol=1e-5)


def flat(value: Any) -> Any:
    return [value[key] for key in sorted(value)] if isinstance(value, dict) else value


def test_what_was_done_before_an_end_stays_done(make_subject: MakeSubject):
    subject = make_subject()

    def stop(task: Any, images: int) -> None:
        if task.epsilons == (0.1,):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(subject, "sensitivity").run(stop)
    assert attacked(subject) == ALL[:1]
    study(subject, "sensitivity").run()
    assert attacked(subject) == ALL[:2]


def test_attacks_go_to_their_ball_and_not_only_across_the_boundary(make_subject: MakeSubject):
    """Figure A4 would otherwise not grow with epsilon: an attack that stops early stays where it first fooled."""
    subject = make_subject()
    figures = study(subject, "sensitivity").run()["sensitivity"]["metrics"]
    assert figures["median"][1] > 1.5 * figures["median"][0]


def test_features_are_those_of_the_network(make_subject: MakeSubject):
    subject = make_subject()
    study(subject, "units").run()
    (row,) = rows(subject.run, "features")
    kept = shards.read(subject.run, row["shard"])
    x = subject.split.x / 255
    with torch.no_grad():
        np.testing.assert_allclose(kept["z"], subject.network.F_theta(x), atol=1e-6)
        np.testing.assert_allclose(kept["logits"], subject.network(x), atol=1e-5)
        np.testing.assert_allclose(kept["length"], subject.network.F_theta[0](x).norm(dim=1), rtol=1e-5)
    np.testing.assert_array_equal(kept["label"], subject.split.y)


def test_results_h5_holds_analyses_and_leads_to_features(make_subject: MakeSubject):
    run = make_subject().run
    found = study(make_subject(), "pca", "sensitivity").run()
    with h5py.File(run.results_path) as file:
        pca = file["analysis/pca"]
        assert pca.attrs["dims"] == found["pca"]["metrics"]["dims"]
        assert pca["explained"].shape == (pca.attrs["features"],)
        assert file["analysis/sensitivity/sensitivity"].shape == (2, N)
        assert file["features/pgd_linf/0.1/z"].shape == (N, pca.attrs["features"])
        assert file["features/natural/label"].shape == (N,)
        about = file["features/pgd_linf/0.1"].attrs
        assert (about["checkpoint"], about["data"], about["n"]) == ("digest of model", "data", N)
        assert json.loads(about["spec"])["steps"] == 3
    before = run.results_path.read_bytes()
    results_file.build(run)
    assert run.results_path.read_bytes() == before


def test_a_data_set_of_one_class(make_subject: MakeSubject):
    subject = make_subject(classes=1)
    study(subject, "pca", "units").run()
    with pytest.raises(RecipeError, match="digits has one class; adversarial images need two"):
        study(subject, "pca", "norms")


def test_a_probe_of_one_image(make_subject: MakeSubject):
    with pytest.raises(RecipeError, match=r"--hdh: .*two or more"):
        study(make_subject(), "hdh", limit=1)


def test_features_that_are_no_numbers_are_not_kept(make_subject: MakeSubject):
    """A discriminator that answers NaN would otherwise have d_HdH = 2, that of a perfect one."""
    subject = make_subject()
    subject.network.F_theta[0].register_forward_hook(
        lambda *arguments: arguments[2].index_fill(0, torch.tensor([1]), torch.nan)
    )
    with pytest.raises(
        AfdctlError, match=r"model: the features of 3 of 40 images \(pgd_linf-0.05\) are NaN or infinite"
    ):
        study(subject, "hdh").run()
    assert rows(subject.run, "features") == rows(subject.run, "analysis") == []


def test_a_signal_stops_between_two_analyses(make_subject: MakeSubject):
    subject = make_subject()
    with pytest.raises(StoppedError):
        study(subject, "pca", "units").run(on_analysis=lambda name: os.kill(os.getpid(), SIGTERM))
    assert [row["name"] for row in rows(subject.run, "analysis")] == ["pca"]


def test_a_run_that_is_written(make_subject: MakeSubject):
    subject = make_subject()
    with subject.run.open_journal(), pytest.raises(BusyError):
        study(subject, "pca").run()


def test_a_foreign_network_has_features_before_its_last_linear_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).requires_grad_(False)
    x = torch.rand(5, 1, 2, 2)
    z, length, logits = make_extractor(network)(x)
    torch.testing.assert_close(z, network[:3](x))
    torch.testing.assert_close(length, z.norm(dim=1))
    torch.testing.assert_close(logits, network(x))


def test_a_foreign_network_without_a_linear_layer():
    with pytest.raises(RecipeError, match="no linear layer"):
        make_extractor(nn.Conv2d(1, 2, 1))


def test_pieces_of_an_attack(make_subject: MakeSubject):
    """One epsilon a piece, so that a kill costs no more; one search serves the whole grid of a smallest distance."""
    subject = make_subject()
    one = study(subject, "hdh")
    pieces = [(task.spec.title, task.epsilons) for task in one.pending_tasks()]
    assert pieces == [("pgd_linf", (0.05,)), ("pgd_linf", (0.1,)), ("ddn", (0.2, 0.5))]
