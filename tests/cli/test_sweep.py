"""`afdctl attack` and `afdctl sweep`, from the command line to figures."""

import json
from pathlib import Path
from typing import Any

import pytest

from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import short, train

GRID = "0,0.05,0.1"


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    """Two short runs: at, nt."""
    for name in ("at", "nt"):
        train(short(f"digits_{name}", "attack.epsilon_warmup_epochs=0"), folder / "runs", name=name)


def printed(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    assert found["schema"] == "afdctl/1"
    return found


def test_a_quick_look_says_what_is_shown_in_its_place(afdctl: Afdctl):
    def look(*options: str) -> list[str]:
        ended = afdctl("attack", "at", "--attack", "noise", "--epsilon", "0.05", *options)
        assert ended.code == 0, ended.err
        return [line for line in ended.err.splitlines() if "results.h5" in line]

    def clean() -> tuple[int, int]:
        (run,) = (run for run in printed(afdctl("runs", "ls", "--json"))["runs"] if run["name"] == "nt")
        return run["clean_n"], run["aa_n"]

    keep = "at: tables, figures and results.h5 keep noise of"
    assert look("--limit", "20") == []
    assert look("--limit", "10") == [f"{keep} 20 images (random sample), not this of 10 images (random sample)"]
    weak = look("--limit", "20", "--set", "samples=1")
    assert weak == [f"{keep} epsilons changed, not this of epsilons and samples changed"]
    assert look("--limit", "20") == []
    rows = [row for row in printed(afdctl("export", "at", "--cells", "json"))["rows"] if row["attack"] == "noise"]
    assert [(row["n"], row["suite"], row["changed"], row["shown"]) for row in rows] == [
        (20, "strong", "epsilons", True),
        (10, "strong", "epsilons", False),
        (20, "strong", "epsilons samples", False),
    ]
    afdctl(
        "attack", "nt", "--attack", "aa", "--epsilon", "0.05", "--limit", "5", "--set", "steps=1", "--set", "queries=1"
    )
    assert clean() == (64, 5)
    shown = afdctl("runs", "ls").out
    assert " n=64" in shown
    assert " n=5 " in shown


def test_a_sweep_in_tables_then_in_json(afdctl: Afdctl):
    command = ("sweep", "at", "nt", "--attacks", "pgd_linf,fgsm,ddn", "--limit", "32")
    shown = afdctl(*command)
    assert shown.code == 0, shown.err
    assert "2 models, 3 attacks: 24 cells, up to about" in shown.err
    assert "at: accuracy (%) in L∞, 32 of 360 test images, random sample" in shown.out
    assert "worst case" in shown.out
    assert "No AutoAttack" in shown.out
    assert "Traceback" not in shown.err
    again = afdctl(*command, "--json")
    assert "24 done already" in again.err
    found = printed(again)
    assert [(one["run"], one["attack"]) for one in found["curves"]] == [
        (run, attack) for run in ("at", "nt") for attack in ("pgd_linf", "fgsm", "ddn")
    ]
    assert len(found["cells"]) == 24
    for one in found["curves"]:
        assert len(one["epsilons"]) == len(one["accuracies"]) == 5
        assert one["epsilons"][0] == 0
        assert 0 <= one["auc"] <= 1
    (envelope,) = (one for one in found["worst_cases"] if one["run"] == "at")
    assert envelope["attacks"] == ["pgd_linf", "fgsm"]
    lowest = [min(column) for column in zip(*(one["accuracies"] for one in found["curves"][:2]), strict=True)]
    assert all(worst <= low + 1e-9 for worst, low in zip(envelope["accuracies"], lowest, strict=True))


def test_one_attack_at_one_epsilon(afdctl: Afdctl):
    found = printed(afdctl("attack", "at", "--attack", "pgd_linf", "--epsilon", "8/255", "--limit", "16", "--json"))
    (cell,) = found["cells"]
    assert cell["epsilon"] == 8 / 255
    assert cell["n"] == 16


def test_black_box_and_matrix(afdctl: Afdctl):
    common = ("--attacks", "fgsm", "--epsilons", GRID, "--limit", "16", "--json")
    found = printed(afdctl("sweep", "at", "--from", "nt", *common))
    assert {(cell["run"], cell["source"]) for cell in found["cells"]} == {("at", "nt")}
    found = printed(afdctl("sweep", "at", "nt", "--matrix", *common))
    assert {(cell["run"], cell["source"]) for cell in found["cells"]} == {("at", "nt"), ("nt", "at")}


def test_a_model_of_ones_own_goes_on_where_it_was(afdctl: Afdctl, folder: Path):
    (folder / "mine.py").write_text(
        "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()\n"
    )
    weights = folder / "w.pt"
    import torch

    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), weights)
    command = ("sweep", "--model", "mine.py:build", "--weights", "w.pt", "--dataset", "digits", "--limit", "16")
    options = ("--attacks", "fgsm", "--epsilons", GRID, "--json")
    first = afdctl(*command, *options)
    assert "executing mine.py" in first.err
    second = afdctl(*command, *options)
    assert "2 done already" in second.err
    assert printed(second)["curves"] == printed(first)["curves"]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("m.py", 2, "--model 'm.py': name a function or class too, such as path/to/file.py:Name"),
        ("m.py:build", 3, "m.py: no such file"),
    ],
)
def test_no_model_is_executed_before_its_file_is_found(afdctl: Afdctl, spec: str, code: int, message: str):
    ended = afdctl("sweep", "--model", spec, "--dataset", "digits", "--attacks", "fgsm")
    assert (ended.code, ended.out, ended.err) == (code, "", f"error: {message}\n")


def test_runs_from_stdin(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("runs/at\n"))
    found = printed(afdctl("attack", "-", "--attack", "fgsm", "--epsilon", "0.05", "--limit", "16", "--json"))
    assert found["cells"][0]["run"] == "at"


MISTAKES = {
    "attack at --attack pgd_lnf --epsilon 0.1": (2, "--attack pgd_lnf: no such attack (did you mean 'pgd_linf'?)"),
    "attack at --attack pgd_linf --epsilon 8": (
        2,
        "--epsilon: pgd_linf.epsilons = [0.0, 8.0]: images are in [0, 1]; did you mean 8/255?",
    ),
    "attack at --attack pgd_linf --epsilon=-0.1": (2, "--epsilon '-0.1': must be 0 or more"),
    "attack at --attack pgd_linf": (2, "--epsilon: missing"),
    "attack at --attack pgd_linf --epsilon 0": (2, "nothing to attack"),
    "sweep at --suite strnog": (2, "did you mean 'strong'?"),
    "sweep at --attacks fgsm --from at": (2, "--from: names the run that is attacked"),
    "sweep at nt --matrix --from at": (2, "--matrix: attacks each run with all others' images"),
    "sweep at --attacks fgsm --epsilons 0": (2, "has no epsilon to attack at"),
    "sweep at --attacks ,fgsm": (2, "--attacks ',fgsm': must be names"),
    "sweep at --image-size 8": (2, "--image-size: goes with --model"),
    "attack at --attack pgd_l2 --epsilon 9": (2, "is more than any two images of digits differ by (8)"),
    "sweep --model m.py:build --dataset digts": (2, "did you mean 'digits'?"),
    "sweep at --matrix": (2, "--matrix: name at least two runs"),
    "sweep at --attacks fgsm --checkpoint step-1.pt": (
        3,
        "run at has no checkpoint 'step-1.pt'; it has best, last, step-",
    ),
    "sweep at --attacks fgsm --weights w.pt": (2, "--weights: goes with --model"),
    "sweep --model nosuch.py:build --dataset digits": (3, "nosuch.py"),
    "sweep --model nosuch.py:build": (2, "--model: needs --dataset"),
    "sweep nosuch": (3, "no such run under runs"),
    "sweep at --device gpu": (2, "--device"),
}


@pytest.mark.parametrize(("command", "expected"), MISTAKES.items())
def test_a_mistake_is_one_line_and_a_code(afdctl: Afdctl, command: str, expected: tuple[int, str]):
    ended = afdctl(*command.split())
    code, message = expected
    assert (ended.code, ended.out) == (code, "")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in ended.err


def test_a_run_without_a_checkpoint(afdctl: Afdctl, folder: Path):
    run = Run(folder / "runs" / "at")
    empty = Run.create(folder / "runs", "empty", run.recipe_text, run.provenance, name="empty")
    with empty.open_journal():
        pass
    ended = afdctl("sweep", "empty", "--attacks", "fgsm")
    assert ended.code == 3
    assert "run empty has no best checkpoint; train it first" in ended.err


def test_a_run_that_is_being_written(afdctl: Afdctl, folder: Path):
    with Run(folder / "runs" / "at").open_journal():
        ended = afdctl("attack", "at", "--attack", "fgsm", "--epsilon", "0.33", "--limit", "16")
    assert ended.code == 4
    assert "is being written by pid" in ended.err


def test_the_choice_of_images_is_in_the_output(afdctl: Afdctl):
    command = ("attack", "nt", "--attack", "mim", "--epsilon", "0.07", "--set", "steps=2")
    found = printed(afdctl(*command, "--first", "16", "--json"))
    names = ("subset", "n", "split_n")
    for row in (*found["cells"], *found["curves"]):
        assert [row[name] for name in names] == ["first", 16, 360]
    assert "nt: accuracy (%) in L∞, first 16 of 360 test images" in afdctl(*command, "--first", "16").out
    ended = afdctl(*command, "--limit", "16")
    assert "keep" not in ended.err
    assert "results.h5 now have mim of 16 images (random sample), in place of the first 16 images" in ended.err
    shown = afdctl("analyze", "nt", "--pca", "--first", "9").out
    assert "hold 99 % of its variance, first 9 of 360 test images" in shown


@pytest.mark.parametrize("command", [("attack", "--epsilon", "0.1"), ("sweep",), ("analyze",)])
def test_a_sample_and_the_first_images_at_once(afdctl: Afdctl, command: tuple[str, ...]):
    ended = afdctl(command[0], "nt", *command[1:], "--limit", "9", "--first", "8")
    message = "error: --limit 9 and --first 8: take a random sample and the first images; leave one out\n"
    assert (ended.code, ended.out, ended.err) == (2, "", message)


def test_weak_attacks_and_random_models_are_reported(afdctl: Afdctl, folder: Path):
    ended = afdctl("sweep", "at", "--suite", "paper-A2", "--attacks", "pgd_linf", "--epsilons", GRID, "--limit", "16")
    assert "its 40 steps reach 1.33 epsilon" in ended.err
    (folder / "random.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Random(nn.Module):\n    def forward(self, x):\n"
        "        return torch.rand(len(x), 10)\n"
    )
    ended = afdctl(
        "sweep",
        "--model",
        "random.py:Random",
        "--dataset",
        "digits",
        "--limit",
        "8",
        "--attacks",
        "fgsm,cw,deepfool,apgd_t,fab_t,ddn,noise",
    )
    assert "random" in "\n".join(line for line in ended.err.splitlines() if line.startswith("warning: "))


LATE = "self.calls = getattr(self, 'calls', 0) + 1\n        assert self.calls < 20, 'tired'\n        return self.net(x)"
MODELS = {
    LATE: "the model raised AssertionError: tired",
    "x.mul_(0.5)\n        return self.net(x)": None,
    "raise ValueError('no such luck')": "(1, 1, 8, 8): ValueError: no such luck",
    "raise SystemExit(7)": "(1, 1, 8, 8): SystemExit: 7",
}


@pytest.mark.parametrize(("body", "message"), MODELS.items())
def test_a_model_that_does_what_it_should_not(afdctl: Afdctl, folder: Path, body: str, message: str | None):
    (folder / "odd.py").write_text(
        "from torch import nn\n\n\nclass Odd(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n\n"
        f"    def forward(self, x):\n        {body}\n"
    )
    ended = afdctl("attack", "--model", "odd.py:Odd", "--dataset", "digits", "--attack", "mim", "--epsilon", "0.1")
    if message is None:
        assert ended.code == 0
        assert "random" not in ended.err
    else:
        assert ended.code == 2
        assert message in ended.err


@pytest.mark.parametrize("width", [60, 80, 100, 150])
def test_a_table_never_cuts_a_figure(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch, width: int):
    monkeypatch.setenv("COLUMNS", str(width))
    # without it rich takes a dumb terminal to be 80 wide
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("afdctl.cli.console.TableConsole.is_terminal", True)
    shown = afdctl("sweep", "at", "--attacks", "pgd_linf,fgsm", "--limit", "32").out
    assert "\u2026" not in shown
    lines = [line for line in shown.splitlines() if line[:1] in "\u2502\u2503\u2514"]
    assert lines
    assert all(len(line) <= width for line in lines)
    assert ("┃ schedule" in shown) == (width == 150)
    assert ("schedule: a wider terminal or --json shows them" in " ".join(shown.split())) == (width < 150)


def test_the_checkpoint_can_be_chosen(afdctl: Afdctl, folder: Path):
    last = checkpoints.load(Run(folder / "runs" / "nt"), "last")
    command = ("attack", "nt", "--attack", "fgsm", "--epsilon", "0.05", "--limit", "16", "--json")
    (cell,) = printed(afdctl(*command, "--checkpoint", "last"))["cells"]
    assert cell["checkpoint"].startswith(last.path.stem.rpartition("-")[2])


def test_suites(afdctl: Afdctl, folder: Path):
    assert [line.split()[0] for line in afdctl("suites", "ls").out.splitlines()] == [
        "paper-A2",
        "paper-notebook",
        "strong",
    ]
    rows = printed(afdctl("suites", "ls", "--json"))["suites"]
    assert rows[1] == {"name": "paper-notebook", "title": "the attacks of the authors' notebook"}
    assert "descending" in afdctl("suites", "show", "strong", "--dataset", "digits").out
    wrong = afdctl("suites", "show", "strong", "--dataset", "cifar")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("error: --dataset 'cifar': no such data set (did you mean 'cifar10'?)")
    assert afdctl("suites", "cp", "strong", "my.toml").code == 0
    assert afdctl("suites", "cp", "strong", "my.toml").code == 2
    assert printed(afdctl("sweep", "at", "--suite", "my.toml", "--attacks", "fgsm", "--limit", "16", "--json"))


@pytest.mark.parametrize("command", ["sweep", "analyze"])
def test_a_run_in_training_is_busy_before_anything_is_planned(afdctl: Afdctl, folder: Path, command: str):
    young = Run(folder / "runs/nt")
    with young.open_journal() as journal:
        # the writer of a finished run is a sweep or an analysis
        journal.append("resume", step=0, epoch=0, epochs=2, steps_per_epoch=1, steps_total=2)
        ended = afdctl(command, "nt")
        journal.append("end", step=2, reason="finished", exit_code=0, message=None)
    assert (ended.code, ended.out, ended.err.count("\n")) == (4, "", 1)
    assert ended.err.startswith("error: run nt is being written by pid ")
