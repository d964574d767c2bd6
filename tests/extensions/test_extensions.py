"""One of each kind in a user's file goes through every command, resumes to the bit, and never passes for another."""

import json
import shutil
import signal
import sys
import warnings
from pathlib import Path

import pytest
import torch

from afdctl import cli, recipe, registry
from afdctl.bench.step_time import short_name
from afdctl.cli.bench import display_name
from afdctl.descriptors import DefenseDescriptor
from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError, StoppedError, UserCodeError
from afdctl.evaluation import known_checks
from afdctl.evaluation.target import EvaluationTarget, load_run_target
from afdctl.export.figures.style import method_styles
from afdctl.export.groups import method_rank
from afdctl.journal import JournalCache, read_rows
from afdctl.runs.record import Record
from afdctl.runs.run import Run
from afdctl.training.schedule import AdversarySchedule
from afdctl.training.setup import resume
from afdctl.tui.state.history import History
from afdctl.user_code import code
from tests.conftest import train
from tests.extensions.conftest import load, write
from tests.training.test_resume import assert_same_state, figures, quiet, stop_after


@pytest.fixture
def afdctl(user_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command on the run, and return what it prints on stdout."""

    def run(*arguments: str) -> str:
        monkeypatch.chdir(user_run.path.parents[1])
        monkeypatch.setattr(sys, "argv", ["afdctl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out

    return run


def test_the_run_keeps_what_it_needs_and_records_it(user_run: Run):
    assert sorted(path.name for path in (user_run.path / "code/mine").iterdir()) == [
        "beside.py",
        "mine.py",
        "scale.txt",
    ]
    kept = recipe.loads(user_run.recipe_text, user_run.path)
    assert (kept.method, kept.dataset, kept.encoder) == ("Mine", "Pictures", "MineNet")
    assert set(kept.user_code["data"]["files"]) == {"beside.py", "mine.py", "scale.txt"}
    (header,) = [row for row in read_rows(user_run.journal_path) if row["event"] == "run"]
    assert header["recipe"]["defense"]["name"] == "code/mine/mine.py:Mine"
    assert header["recipe"]["user_code"]["defense"]["losses"] == ["L_C", "L_mine"]


def test_every_command_shows_it(user_run: Run, afdctl):
    assert "Mine on Pictures" in (shown := afdctl("watch", "--once", "mine"))
    assert "L_mine" in shown
    (row,) = json.loads(afdctl("runs", "ls", "--json"))["runs"]
    assert (row["method"], row["dataset"]) == ("Mine", "Pictures")
    assert "Mine on Pictures" in afdctl("runs", "show", "mine")
    assert "fgsm" in afdctl("sweep", "mine", "--attacks", "fgsm", "--epsilons", "0,0.1", "--limit", "20")
    assert "pca" in afdctl("analyze", "mine", "--pca", "--epsilons", "0,0.1", "--limit", "20")
    assert "Mine" in afdctl("export", "mine", "--table", "1")
    assert "Mine" in afdctl("export", "mine", "--table", "A1")
    afdctl("export", "mine", "--report", "report.html")
    assert "L_mine" in Path("report.html").read_text()


def test_other_logits_of_the_same_code_and_weights_have_results_of_their_own(
    user_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = Run(Path(shutil.copytree(user_run.path, tmp_path / "mine")))

    def loaded(shift: str) -> EvaluationTarget:
        monkeypatch.setenv("MINE_SHIFT", shift)
        target = load_run_target(run, "last", torch.device("cpu"), None)
        with run.open_journal() as journal:
            journal.extend(known_checks.missing([target.check], JournalCache(run.journal_path)))
        return target

    def warned(target: EvaluationTarget) -> bool:
        return any("returns other logits than when it was first measured" in line for line in target.warnings)

    first, shifted, rounded, again = loaded("0"), loaded("0.3"), loaded("0.3000001"), loaded("1e-7")
    assert first.digest == again.digest != shifted.digest == rounded.digest
    assert [warned(target) for target in (first, shifted, rounded, again)] == [False, True, True, False]
    # the checks are not repeated
    assert len([row for row in read_rows(run.journal_path) if row["event"] == "sanity_check"]) == 2


def test_a_new_descriptor_is_enough_for_a_built_in_defense(monkeypatch: pytest.MonkeyPatch):
    descriptor = DefenseDescriptor(
        place="tests.extensions.mine:Mine",
        label="Dummy",
        short="dum",
        losses=("L_C", "L_dummy"),
        adversary="pgd_kl",
        passes=4,
        styles={"": ("#123456", "-", "*")},
    )
    monkeypatch.setitem(registry.DEFENSES.entries, "dummy", descriptor)
    with pytest.raises(RecipeError, match="defense 'dummy' needs the adversary 'pgd_kl'"):
        recipe.load("digits_at", ["defense.name=dummy"])
    chosen = recipe.load("digits_trades", ["defense.name=dummy"])
    assert chosen.method == "Dummy"
    assert method_styles()["Dummy"].colour == "#123456"
    assert method_rank("Matching") < method_rank("Dummy") < method_rank("a custom model")
    assert display_name(short_name(chosen)) == "Dummy"
    history = History()
    history.run = {"recipe": chosen.model_dump(mode="json")}
    assert "Dummy on digits" in words_of(history)
    steps = AdversarySchedule(chosen, 1)
    assert steps.total_passes == 4 * chosen.train.epochs + sum(map(steps.attack_passes, range(chosen.train.epochs)))


def words_of(history: History) -> str:
    return history.defense.method(history.table("defense"), history.table("attack")) + " on " + history.dataset


def test_a_stopped_training_resumes_to_the_bit_without_the_files(user_run: Run, tmp_path: Path):
    path = write(tmp_path / "gone")
    with pytest.raises(StoppedError) as stopped:
        train(load(path), tmp_path / "parts", stop_after(5), name="mine")
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    shutil.rmtree(tmp_path / "gone")
    # on another machine
    shutil.move(tmp_path / "parts", tmp_path / "elsewhere")
    parts = Run.find("mine", tmp_path / "elsewhere")
    resume(parts, device=None, data_dir=None, on_line=quiet)
    assert_same_state(user_run, parts)
    assert figures(user_run) == figures(parts)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("mine.py", "0.9 * self.mean", "0.8 * self.mean", "code/mine/mine.py: changed since the run began"),
        ("beside.py", '"a"', '"A"', "code/mine/beside.py: changed since the run began"),
        ("scale.txt", "1.0", "1.00", "code/mine/scale.txt: changed since the run began"),
    ],
)
def test_changed_code_is_not_resumed(
    user_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str, message: str
):
    run = Run(Path(shutil.copytree(user_run.path, tmp_path / "mine")))
    copy = run.path / "code/mine" / file
    copy.write_text(copy.read_text().replace(old, new))
    # compared before it is executed
    monkeypatch.setattr(code, "load", None)
    with pytest.raises(CorruptError, match=message):
        resume(run, device=None, data_dir=None, on_line=quiet)
    copy.unlink()
    with pytest.raises(CorruptError, match=f"code/mine/{file}: missing; restore it from a copy"):
        resume(run, device=None, data_dir=None, on_line=quiet)


def test_a_run_is_shown_without_executing_its_code(user_run: Run, tmp_path: Path):
    run = Run(Path(shutil.copytree(user_run.path, tmp_path / "mine")))
    shutil.rmtree(run.path / "code")
    assert Record.of(run).method == "Mine"
    with pytest.raises(NotFoundError, match=r"mine\.py: no such file"):
        recipe.loads(run.recipe_text, run.path, execute=True)


def test_the_digest_of_a_recipe_has_its_code(tmp_path: Path):
    path = write(tmp_path)
    first = recipe.digest(load(path))
    (tmp_path / "beside.py").write_text('NAMES = ("a", "b", "c", "e")\n')
    assert recipe.digest(load(path)) != first


MISTAKES = [
    (["defense.wieght=1"], "--set defense.wieght: no such key (did you mean 'weight'?)"),
    (["defense.weight=a"], '--set defense.weight = "a": must be a number'),
    (["model.activation=gelu"], "--set model.activation = \"gelu\": must be 'relu' or 'silu'"),
    (["defense.name=bad.py:NoStep"], 'defense.name = "bad.py:NoStep": bad.py:8: NoStep: has no method `step`'),
    (["defense.name=bad.py:Clash"], "Clash.Config.lr_C: changes the type of afdctl's key lr_C; choose another name"),
    (["defense.name=bad.py:Plain"], "Plain.Config: must be a subclass of DefenseConfig"),
    (["defense.name=bad.py:Labels"], "Labels.losses: must be a tuple of names, not 'L_C'"),
    (["defense.name=bad.py:NoStop"], "bad.py: has no 'NoStop' (did you mean 'NoStep'?)"),
    (["data.dataset=nosuch.py:X"], '--set data.dataset = "nosuch.py:X": nosuch.py: no such file'),
    (["defense.name=bad.py"], 'defense.name = "bad.py": name a function or class of the file too, such as bad.py:Name'),
    (["defense.name=nosuch"], '--set defense.name = "nosuch": no such name (known: natural,'),
]
BAD = """
from afdctl.defenses.base import Defense
from afdctl.recipe.defenses import DefenseConfig
from afdctl.data import DatasetLoader, Dataset, ImageTensors
import numpy as np
import torch
from torch import nn
class NoStep(Defense): ...

class Base(Defense):
    def step(self, x, y): return {"L_C": 1.0}

class Clash(Base):
    class Config(DefenseConfig):
        lr_C: str = "a"

class Plain(Base):
    class Config: ...

class Labels(Base):
    losses = "L_C"

class Foreign:
    def step(self, x, y): ...

class Raises(Base):
    def step(self, x, y): raise ValueError("no luck")

class Vector(Base):
    def step(self, x, y): return {"L_C": torch.zeros(3)}

class Reserved(Base):
    def step(self, x, y): return {"epoch": 1}

class Lazy(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.D = nn.LazyLinear(1)

class Listed(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.weights = list(self.network.parameters())
        self.heads = [nn.Linear(1, 1)]

class Drawing(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.draws = np.random.default_rng(0)

class Filled(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.memory = {}
    def step(self, x, y):
        self.memory["x"] = x
        return super().step(x, y)

class Named(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.C = torch.optim.Adam(self.network.parameters())

class Hiding(Base):
    def __init__(self, **given):
        super().__init__(**given)
        self.values = []

class Partial(Base):
    def step(self, x, y):
        return {"grad_C": self.step_classifier(self.network.F_theta(x).mean())}

class Bare(Base):
    def __init__(self): ...

class Images(DatasetLoader):
    def load(self, roots, **_):
        split = ImageTensors(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
        return Dataset("images", split, split, ("a", "b"))

class Labels1(DatasetLoader):
    def load(self, roots, **_):
        split = ImageTensors(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.arange(20) % 2 + 1)
        return Dataset("images", split, split, ("a", "b"))

class Flat(nn.Module):
    def forward(self, x): return x

def meta(channels, image_size): return nn.Sequential(nn.Flatten(), nn.Linear(64, 4, device="meta"))
def flat(channels): return Flat()
def hooked(channels): return nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(channels, 4, 3)), nn.Flatten())
def outside(model, x, y): return x[:1]
"""


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bad.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    return write(tmp_path)


@pytest.mark.parametrize(("overrides", "message"), MISTAKES)
def test_a_mistake_in_a_recipe_is_one_line(bad: Path, overrides: list[str], message: str):
    with pytest.raises(AfdctlError) as raised:
        load(bad, *overrides)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


TRAINED = [
    (["defense.name=bad.py:Foreign"], "bad.py:23: Foreign: is not a subclass of afdctl.Defense"),
    (["defense.name=bad.py:Raises"], "bad.py:27: step(): ValueError: no luck"),
    (
        ["defense.name=bad.py:Vector"],
        "bad.py:30: Vector.step() reports 'L_C' as a tensor of shape (3,)",
    ),
    (["defense.name=bad.py:Reserved"], "step() reports 'epoch', which is a field of the journal; choose another name"),
    (["defense.name=bad.py:Lazy"], "module 'D': has lazy tensors without values (weight, bias); pass images"),
    (["defense.name=bad.py:Listed"], "Listed: self.heads has modules, which a resume would lose: use torch.nn.ModuleL"),
    (["defense.name=bad.py:Drawing"], "Drawing: self.draws is a Generator, whose draws a resume would repeat: use a"),
    (["defense.name=bad.py:Filled"], "Filled: self.memory has Tensor objects, which a resume would lose: make each"),
    (["defense.name=bad.py:Named"], "Named: self.C has the name of afdctl's optimizer C; choose another name, or repl"),
    (["defense.name=bad.py:Bare"], "bad.py:74: Bare.__init__() must take **given, and call super().__init__(**given)"),
    (["defense.name=bad.py:Hiding"], "Hiding: self.values hides afdctl's method values(); choose another name"),
    (
        ["defense.name=bad.py:Partial"],
        "bad.py:71: step(): ValueError: the loss does not depend on all weights of FeatureClassifier",
    ),
    (["data.dataset=bad.py:Images"], "train images must be uint8 (n, c, h, w) from 0 to 255 with 1 or 3 channels"),
    (["data.dataset=bad.py:Labels1"], "train labels are 1 to 2, but there are 2 classes: they count from 0"),
    (["model.encoder=bad.py:flat"], "features of images (2, 1, 8, 8) must be floats (n, m), not float32 (2, 1, 8, 8)"),
    (["model.encoder=bad.py:meta"], "on the CPU"),
    (["model.encoder=builtins:dict"], "builtins: dict: Python does not know its arguments; wrap it in a function"),
    (["model.encoder=math:sqrt"], "math: sqrt(): TypeError: "),
    (["model.encoder=bad.py:hooked"], "layer '0' has a hook, which attacks do not call; compute it in forward"),
    (["attack.name=bad.py:outside"], "bad.py:92: outside: must return images of shape (2, 1, 8, 8), not (1, 1, 8, 8)"),
]


def test_arguments_that_no_recipe_can_write_are_no_keys(tmp_path: Path):
    source = "from torch import nn\ndef layers(channels, act=nn.ReLU, last=nn.ReLU(), depth: int = 2): ..."
    (tmp_path / "own.py").write_text(source)
    text = recipe.dump(load(write(tmp_path), f"model.encoder={tmp_path}/own.py:layers"))
    assert "depth = 2" in text
    assert "act =" not in text


def test_an_argument_may_have_the_name_of_a_method_of_pydantic(tmp_path: Path):
    (tmp_path / "own.py").write_text("def layers(channels, copy: bool = True): ...")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "copy = true" in recipe.dump(load(write(tmp_path), f"model.encoder={tmp_path}/own.py:layers"))


def test_a_defense_that_moves_no_weight_is_named_once(bad: Path, user_run: Run):
    def warned(run: Run) -> int:
        messages = [row["message"] for row in read_rows(run.journal_path) if row["event"] == "warning"]
        return sum("step() moved no weight of the network" in message for message in messages)

    assert warned(train(load(bad, "defense.name=bad.py:Base"), Path("runs"))) == 1
    assert not warned(user_run)


def test_a_failed_step_does_not_keep_the_name_of_its_run(bad: Path):
    failing = load(bad, "defense.name=bad.py:Raises")
    with pytest.raises(UserCodeError, match="no step was made: mend the file and train again; the name mine is free"):
        train(failing, Path("runs"), name="mine")
    with pytest.raises(UserCodeError, match="the name mine is free"):
        resume(Run(Path("runs/mine")), device=None, data_dir=None, on_line=quiet)
    file = bad.with_name("bad.py")
    # the second step of the mended file fails
    mended = 'self.n = vars(self).get("n", 0) + 1; return {"L_C": 1 / (2 - self.n)}'
    file.write_text(BAD.replace('raise ValueError("no luck")', mended))
    with pytest.raises(UserCodeError, match=r"ZeroDivisionError: .*; runs/mine keeps the code that it began with"):
        train(load(bad, "defense.name=bad.py:Raises"), Path("runs"), name="mine")
    rows = list(read_rows(Path("runs/mine/events.ndjson")))
    assert len([row for row in rows if row["event"] == "run"]) == 1
    with pytest.raises(RecipeError, match="runs/mine: exists; choose another"):
        train(failing, Path("runs"), name="mine")


@pytest.mark.parametrize(("overrides", "message"), TRAINED)
def test_a_mistake_in_code_is_one_line_and_leaves_nothing(bad: Path, overrides: list[str], message: str):
    with pytest.raises(AfdctlError) as raised:
        train(load(bad, *overrides), Path("runs"))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
