"""Test evaluation targets: the saved weights of a run, and custom models with their own run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.evaluation import known_checks, sanity_checks
from afdctl.evaluation.target import EvaluationTarget, load_run_target, load_user_target
from afdctl.journal import JournalCache, read_rows
from afdctl.recipe import dump
from afdctl.runs import checkpoints, results_file
from afdctl.runs.run import Run
from afdctl.training import setup
from afdctl.training.run_data import load_dataset
from afdctl.training.setup import resume
from tests.conftest import short
from tests.models.authors import shake
from tests.training.test_resume import train

CPU = torch.device("cpu")
NET = "from torch import nn\ndef build(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(short("digits_nt", "train.epochs=1", "train.ema_decay=0.5"), tmp_path_factory.mktemp("runs"))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


def own(net: Path, **changed: Any) -> EvaluationTarget:
    given: dict[str, Any] = {
        "spec": f"{net.name}:build",
        "weights": None,
        "mean": None,
        "std": None,
        "dataset": "digits",
        "runs": Path("runs"),
        "device": CPU,
        "data_dir": None,
    }
    return load_user_target(**(given | changed))


@pytest.mark.parametrize("which", ["best", "last", "file"])
def test_a_runs_network_is_the_saved_average(trained: Run, which: str):
    name = checkpoints.load(trained, "last").path.name if which == "file" else which
    subject, loaded = load_run_target(trained, name, CPU, None), checkpoints.load(trained, name)
    saved = loaded.state["ema"]
    assert not saved["C_phi.bias"].equal(loaded.state["defense"]["network"]["C_phi.bias"])
    assert all(torch.equal(value, saved[name]) for name, value in subject.network.named_parameters())
    assert not any(part.training for part in subject.network.modules())
    assert not any(parameter.requires_grad for parameter in subject.network.parameters())
    assert loaded.path.name.endswith(f"{subject.digest[:16]}.pt")
    assert len(subject.digest) == 64
    assert subject.data_digest == trained.provenance["data_digest"]
    assert (subject.name, subject.run, subject.dataset, subject.classes) == ("run-001", trained, "digits", 10)
    assert (subject.seed, len(subject.split), subject.split.x.dtype) == (0, 360, torch.uint8)
    # one epoch teaches it nothing
    assert subject.warnings == ["only 12 of 128 checked images are classified correctly, no better than chance"]


def test_a_run_is_read_while_it_is_written(trained: Run):
    with trained.open_journal():
        assert load_run_target(trained, "best", CPU, None).digest == load_run_target(trained, "last", CPU, None).digest


def test_a_network_is_checked_once_for_its_images(trained: Run, monkeypatch: pytest.MonkeyPatch):
    first = load_run_target(trained, "best", CPU, None)
    assert first.check["warnings"] == first.warnings
    assert (first.check["checkpoint"], first.check["data"]) == (first.digest, first.data_digest)
    with trained.open_journal() as journal:
        journal.extend(known_checks.missing([first.check, first.check], JournalCache(trained.journal_path)))
    monkeypatch.setattr(sanity_checks, "describe", lambda *_, **__: ["checked again"])
    known = load_run_target(trained, "best", CPU, None)
    assert known.warnings == first.warnings
    assert known_checks.missing([known.check, first.check], JournalCache(trained.journal_path)) == []
    assert len([row for row in read_rows(trained.journal_path) if row["event"] == "sanity_check"]) == 1
    monkeypatch.setattr(sanity_checks, "VERSION", 0)
    assert load_run_target(trained, "best", CPU, None).warnings == ["checked again"]


def test_a_run_without_a_checkpoint(tmp_path: Path):
    run = Run.create(tmp_path, "run", dump(short("digits_nt")), {})
    with pytest.raises(NotFoundError, match=r"^run run-001 has no best checkpoint; train it first$"):
        load_run_target(run, "best", CPU, None)


def test_a_run_whose_journal_is_gone(trained: Run):
    """A new journal would hide that the results of the old one were lost."""
    kept = trained.journal_path.rename(trained.journal_path.with_suffix(".kept"))
    try:
        with pytest.raises(CorruptError, match=r"events\.ndjson: missing; restore it from a copy$"):
            load_run_target(trained, "best", CPU, None)
    finally:
        kept.rename(trained.journal_path)


def test_other_images_are_refused(trained: Run, monkeypatch: pytest.MonkeyPatch):
    changed = load_dataset(short("digits_nt").data, None)
    changed.test.x[0, 0, 0, 0] += 1
    monkeypatch.setattr("afdctl.data.load", lambda *_, **__: changed)
    with pytest.raises(CorruptError, match=r"not the images that this run used; name their folder"):
        load_run_target(trained, "best", CPU, None)


def test_a_run_reads_the_images_that_it_was_trained_on_wherever_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen = short("digits_nt", "data.dataset=folder", "data.image_size=8", "data.channels=1", "data.holdout=2")
    for place, step in (("own", 20), ("other", 30)):
        for path in (tmp_path / place / part / name for part in ("train", "test") for name in ("a", "b")):
            path.mkdir(parents=True)
            for grey in range(0, 200, step):
                Image.new("L", (8, 8), grey).save(path / f"{grey}.png")
    with Run.begin(tmp_path, "x", None) as (run, journal):
        setup.start(chosen, run, journal, device=CPU, data_dir=tmp_path / "own", on_line=lambda line: None)
    monkeypatch.setenv("AFDCTL_DATA", str(tmp_path / "other"))
    assert len(load_run_target(run, "best", CPU, None).split) == 20
    with pytest.raises(CorruptError, match=r"not the images that this run used"):
        load_run_target(run, "best", CPU, tmp_path / "other")
    (tmp_path / "own").rename(tmp_path / "moved")
    with pytest.raises(CorruptError, match=r"not the images that this run used"):
        load_run_target(run, "best", CPU, None)
    monkeypatch.setenv("AFDCTL_DATA", str(tmp_path / "moved"))
    assert len(load_run_target(run, "best", CPU, None).split) == 20


def test_a_model_of_ones_own_gets_a_run(net: Path):
    torch.manual_seed(0)
    torch.save({"1.weight": torch.rand(10, 64), "1.bias": torch.zeros(10)}, "w.pt")
    subject = own(net, weights=Path("w.pt"), mean=[0.5], std=[0.25])
    assert subject.run.path == Path("runs/net-build-001")
    facts = subject.run.provenance
    assert facts["kind"] == subject.run.kind == "external"
    assert (facts["model"], facts["weights"]) == (f"{net}:build", str(net.parent / "w.pt"))
    assert (facts["mean"], facts["std"], facts["dataset"]) == ([0.5], [0.25], "digits")
    assert (facts["model_digest"], facts["data_digest"]) == (subject.digest, subject.data_digest)
    assert {"afdctl", "commit", "torch", "device", "command"} <= facts.keys()
    assert (subject.name, subject.dataset, subject.classes, subject.seed) == ("net-build-001", "digits", 10, 0)
    assert len(subject.warnings) == 1
    assert "no better than chance" in subject.warnings[0]


def test_the_same_model_continues_its_run_and_another_one_does_not(net: Path):
    first = own(net)
    assert own(net).run == first.run
    (net.parent / "moved.py").write_text(NET)
    assert own(net.with_name("moved.py")).run == first.run
    assert own(net, mean=[0.5], std=[0.5]).run.name == "net-build-002"
    net.write_text(NET + "# changed\n")
    assert own(net).run.name == "net-build-003"
    (first.run.path / "run.json").write_text("{")
    assert own(net).run.name == "net-build-003"


ATTRIBUTE = """
from pathlib import Path
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.factor = float(Path("factor.txt").read_text())
    def forward(self, x):
        return self.factor * self.linear(x.flatten(1))
build = Net
"""


def test_what_neither_code_nor_tensors_hold_makes_another_model(net: Path):
    """A plain attribute that is read from a file is detected by the logits."""
    net.write_text(ATTRIBUTE)
    (net.parent / "factor.txt").write_text("1")
    first = own(net)
    assert own(net).digest == first.digest
    (net.parent / "factor.txt").write_text("1.01")
    with pytest.raises(CorruptError, match="has changed since"):
        load_run_target(first.run, "best", CPU, None)
    changed = own(net)
    assert changed.run.name == "net-build-002"
    assert changed.digest != first.digest
    assert changed.run.provenance["code_digest"] == first.run.provenance["code_digest"]


def test_the_number_of_threads_makes_no_other_model(net: Path):
    first, threads = own(net), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        again = own(net)
    finally:
        torch.set_num_threads(threads)
    assert (again.run, again.digest) == (first.run, first.digest)


def test_an_external_run_is_measured_once_more_from_anywhere(net: Path, tmp_path: Path, monkeypatch):
    first = own(net, mean=[0.5], std=[0.5])
    run = Run(first.run.path.resolve())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = load_run_target(run, "best", CPU, None)
    assert (again.digest, again.data_digest, again.run, again.warnings) == (
        first.digest,
        first.data_digest,
        run,
        first.warnings,
    )
    net.write_text(NET + "# changed\n")
    with pytest.raises(
        CorruptError, match=r"net-build-001: the model .*net.py:build has changed since; name it with --model"
    ):
        load_run_target(run, "best", CPU, None)


def test_an_external_run_can_be_found_and_has_results(net: Path):
    run = own(net).run
    assert run.recipe_text == ""
    with run.open_journal() as journal:
        journal.append("warning", message="measured by hand")
    assert Run.find("net-build-001", Path("runs")) == run
    assert not run.finished
    assert results_file.build(run).exists()


def test_rows_that_an_external_run_has_lost_are_reported(net: Path):
    run = own(net).run
    with run.open_journal() as journal:
        journal.append("warning", message="measured by hand")
    results_file.build(run)
    run.journal_path.write_bytes(b"")
    for subject in (own(net), load_run_target(run, "best", CPU, None)):
        (gap,) = (line for line in subject.warnings if "last rows" in line)
        assert "its last rows are missing: it has 0 bytes, results.h5 was made from" in gap


def test_an_external_run_cannot_be_resumed(net: Path):
    run = own(net).run
    with pytest.raises(
        RecipeError, match=r"^runs/net-build-001: this run is external, not trained; it cannot be resumed"
    ):
        resume(run, device=None, data_dir=None, on_line=print)


def test_what_the_file_says_of_the_model_is_a_warning(net: Path):
    net.write_text(NET.replace("nn.Flatten()", "nn.Flatten(), nn.Dropout()"))
    assert own(net).warnings[0] == "the model came in training mode; it is measured in evaluation mode"


MISTAKES = [
    ({"dataset": "mnits"}, 2, "--dataset 'mnits': no such data set (did you mean 'mnist'?)"),
    ({"dataset": "folder"}, 2, "--dataset folder: needs --image-size, the side in pixels that its images are resized"),
    ({"image_size": 32}, 2, "--image-size 32: digits has no such key (only tiny_imagenet and folder can use it)"),
    ({"dataset": "folder", "image_size": 4}, 2, "--image-size 4: Input should be greater than or equal to 8"),
    ({"mean": [0.5] * 3, "std": [0.5] * 3}, 2, "--mean and --std have 3 values, images of digits have 1 channels"),
    ({"spec": "net.py:few"}, 2, "the model has 5 classes, the data set has 10"),
    ({"spec": "net.py:wide"}, 2, "the model rejects images of shape (1, 1, 8, 8): RuntimeError: "),
    ({"spec": "nosuch.py:build"}, 3, "nosuch.py: no such file"),
]


@pytest.mark.parametrize(("changed", "code", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_run(net: Path, changed: dict[str, Any], code: int, message: str):
    net.write_text(NET + "few = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))\nwide = nn.Linear(784, 10)\n")
    with pytest.raises(AfdctlError) as raised:
        own(net, **changed)
    assert raised.value.exit_code == code
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
    assert not Path("runs").exists()


def test_images_of_a_folder_are_resized(net: Path, tmp_path: Path):
    from PIL import Image

    for number, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (60 * number, 0, 0)).save(tmp_path / "images" / name / "0.png")
    net.write_text(NET.replace("64, 10", "3 * 8 * 8, 2"))
    subject = own(net, dataset="folder", image_size=8, data_dir=tmp_path / "images")
    assert (subject.split.x.shape, subject.classes) == ((2, 3, 8, 8), 2)
    assert json.loads((subject.run.path / "run.json").read_bytes())["image_size"] == 8
    assert load_run_target(subject.run, "best", CPU, None).digest == subject.digest


def test_a_network_of_ours_through_its_weights_gives_the_same_logits(trained: Run, net: Path):
    """The two ways to the same model: a run, and a file with weights."""
    ours = load_run_target(trained, "best", CPU, None)
    shake(ours.network)
    torch.save(ours.network.state_dict(), "w.pt")
    net.write_text(
        "from afdctl.models import feature_classifier as fc\n"
        "def build(): return fc.build('lenet', width=4, channels=1, image_size=8, classes=10)\n"
    )
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(own(net, weights=Path("w.pt")).network(x), ours.network(x))
