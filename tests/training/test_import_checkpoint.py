"""Test that a checkpoint of the authors' code becomes a run like a trained one."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch

from afdctl.errors import RecipeError
from afdctl.evaluation.target import load_run_target
from afdctl.journal import drop_superseded, read_rows
from afdctl.models import authors_checkpoint
from afdctl.models.feature_classifier import FeatureClassifier, build
from afdctl.recipe import Recipe, loads
from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from afdctl.training.import_checkpoint import import_checkpoint
from afdctl.training.setup import resume
from tests.conftest import short
from tests.models.authors import SpectralHead, checkpoint, shake

OURS = ["model.encoder=resnet18_mnist", "defense.hidden=16"]


@pytest.fixture(scope="module")
def theirs() -> FeatureClassifier:
    chosen = short("digits_wgan", *OURS)
    network = build(**chosen.model.architecture, channels=1, image_size=8, classes=10)
    shake(network)
    return network.eval()


@pytest.fixture
def file(tmp_path: Path, theirs: FeatureClassifier) -> Path:
    torch.save(checkpoint(theirs, SpectralHead(theirs.features, 10)), tmp_path / "mnist_model_last.pt")
    return tmp_path / "mnist_model_last.pt"


def imported(file: Path, chosen: Recipe | None = None) -> tuple[Run, list[str]]:
    chosen = chosen or short("digits_wgan", *OURS)
    return import_checkpoint(file, chosen, stem="wgan", runs=file.parent / "runs", name=None, data_dir=None)


def test_an_imported_run_has_the_network_and_the_discriminator(file: Path, theirs: FeatureClassifier):
    run, warnings = imported(file)
    x = torch.rand(8, 1, 8, 8)
    for which in ("best", "last"):
        loaded = checkpoints.load(run, which)
        assert (loaded.step, loaded.epoch) == (0, 0)
        assert torch.equal(load_run_target(run, which, torch.device("cpu"), None).network(x), theirs(x))
    saved = loaded.state["defense"]["D_psi"]
    score = torch.load(file, weights_only=True)["EDa_state_dict"]["l7.weight_orig"]
    assert torch.equal(saved["score.parametrizations.weight.original"], score)
    assert warnings == []


def test_the_average_of_a_recipe_that_has_one_is_the_imported_network(file: Path, theirs: FeatureClassifier):
    run, _ = imported(file, short("digits_wgan", *OURS, "train.ema_decay=0.9"))
    x = torch.rand(8, 1, 8, 8)
    assert torch.equal(load_run_target(run, "best", torch.device("cpu"), None).network(x), theirs(x))


def test_the_digest_is_of_the_bytes_that_were_read(file: Path, monkeypatch: pytest.MonkeyPatch):
    digest, load = sha256(file.read_bytes()).hexdigest(), authors_checkpoint.load

    def load_and_lose(path: Path) -> authors_checkpoint.AuthorsCheckpoint:
        checkpoint = load(path)
        path.unlink()
        return checkpoint

    monkeypatch.setattr(authors_checkpoint, "load", load_and_lose)
    run, _ = imported(file)
    assert run.provenance["imported"]["sha256"] == digest


def test_an_imported_run_records_its_source(file: Path):
    run, _ = imported(file)
    facts = run.provenance
    assert (run.name, run.kind, run.finished, (run.checkpoints / "last").exists()) == (
        "wgan-001",
        "imported",
        False,
        True,
    )
    assert facts["imported"]["file"] == str(file)
    assert facts["imported"]["sha256"] == sha256(file.read_bytes()).hexdigest()
    assert facts["recipe_digest"] == sha256(run.recipe_path.read_bytes()).hexdigest()
    assert {"data_digest", "data_dir", "seed", "afdctl", "torch", "device", "command"} <= facts.keys()
    assert loads(run.recipe_text).defense.name == "afd"
    rows = drop_superseded(read_rows(run.journal_path))
    assert [row["event"] for row in rows] == ["run", "checkpoint", "end"]
    assert (rows[1]["best"], rows[2]["reason"], rows[2]["exit_code"]) == (True, "imported", 0)
    assert run.results_path.exists()


def test_it_cannot_be_resumed(file: Path):
    run, _ = imported(file)
    with pytest.raises(RecipeError, match=r"wgan-001: this run is imported, not trained; it cannot be resumed"):
        resume(run, device=None, data_dir=None, on_line=print)


def test_without_a_discriminator_a_warning_says_that_the_runs_is_untrained(file: Path):
    payload = torch.load(file, weights_only=True)
    del payload["EDa_state_dict"]
    torch.save(payload, file)
    run, warnings = imported(file)
    assert warnings == [f"{file}: has no discriminator (EDa_state_dict); the run's discriminator is new and untrained"]
    assert [row["message"] for row in read_rows(run.journal_path) if row["event"] == "warning"] == warnings


def test_a_recipe_without_a_discriminator_takes_the_network_only(file: Path):
    chosen = short("digits_nt", "model.encoder=resnet18_mnist")
    run, warnings = imported(file, chosen)
    assert warnings == []
    assert "D_psi" not in checkpoints.load(run).state["defense"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=8", "does not fit the model: F_theta.0.stem.conv.weight is [4, 1, 3, 3], not [8, 1, 3, 3]"),
        ("model.encoder=lenet", "does not fit the model: "),
        ("model.norm=none", "add --set model.norm=l2"),
        ("model.norm=scale", "add --set model.norm=l2"),
        ("defense.hidden=8", "body.0.bias is [16], not [8]"),
        ("defense.discriminator=fc3", "does not fit the model: unexpected embedding.parametrizations.weight.original"),
    ],
)
def test_a_recipe_of_another_network_is_one_line_and_leaves_no_run(file: Path, override: str, message: str):
    with pytest.raises(RecipeError) as raised:
        imported(file, short("digits_wgan", *OURS, override))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(file.parent.glob("runs/*")) == []


def test_a_learnt_scale_is_refused_where_the_checkpoint_names_no_encoder(file: Path):
    payload = torch.load(file, weights_only=True)
    del payload["enc_model"]
    torch.save(payload, file)
    with pytest.raises(RecipeError, match=r'^model.norm = "scale": the authors\' networks have no such scalar'):
        imported(file, short("digits_wgan", *OURS, "model.norm=scale"))
