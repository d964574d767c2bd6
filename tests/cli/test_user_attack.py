"""A user's attack by name: in suites, `attack` and `sweep`, with its keys, its digest and its mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import afdctl
from afdctl.journal import read_rows
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import short, train

ROOT = Path(afdctl.__file__).parents[1]
MY = """
import torch

def attack(model, x, y, *, epsilon, steps: int = 3):
    x_adv = x.clone().requires_grad_()
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(x_adv), y)
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = (x_adv + epsilon * gradient.sign()).detach().requires_grad_()
    return x_adv

class Nearest:
    label = "nearest"
    class Config(afdctl.AttackConfig):
        norm: str = "l2"
        length: float = 0.5
    def __call__(self, model, x, y, *, length):
        return x + length

def shape(model, x, y, *, epsilon): return x[:, :, :2]
def nothing(model, x, y, *, epsilon): return None
def integers(model, x, y, *, epsilon): return x.long()
def nan(model, x, y, *, epsilon): return x / 0
def raises(model, x, y, *, epsilon): raise ValueError("no luck")
def exits(model, x, y, *, epsilon): raise SystemExit(0)
def weights(model, x, y, *, epsilon):
    model.network.C_phi.weight.data.add_(1)
    return x
def noisy(model, x, y, *, epsilon):
    print("on stdout")
    torch.manual_seed(1), torch.set_num_threads(7), torch.set_grad_enabled(False)
    return x + epsilon * torch.rand_like(x)
def few(model): ...
def no_default(model, x, y, *, epsilon, k): ...
class Clash:
    class Config(afdctl.AttackConfig):
        epsilons: int = 3
    def __call__(self, model, x, y): ...
class BuiltIn:
    label = "aa"
    def __call__(self, model, x, y): ...
number = 3
"""
MY = "import afdctl\n" + MY
# line of `raise ValueError` above
RAISES = 1 + MY[: MY.index('raise ValueError("no')].count("\n")


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    train(short("digits_nt", "train.epochs=8"), folder / "runs", name="nt")
    (folder / "my.py").write_text(MY)


def attack(afdctl: Afdctl, name: str, *options: str) -> Ended:
    return afdctl("attack", "nt", "--attack", name, "--epsilon", "0.1", "--limit", "40", *options)


def printed(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_it_is_verified_and_counted_as_any_other(afdctl: Afdctl, folder: Path):
    (cell,) = printed(attack(afdctl, "my.py:attack", "--json"))["cells"]
    assert (cell["attack"], cell["spec"]["name"], cell["spec"]["steps"]) == ("my.attack", "my.py:attack", 3)
    assert len(cell["spec"]["code"]) == 64
    attacked = round(40 * cell["acc_nat"])
    # three steps, the verdict on x', and that of the ascending order
    assert (cell["backwards"], cell["forwards"]) == (
        3 * attacked,
        4 * attacked + round(40 * (cell["acc_nat"] - cell["accuracy"])),
    )
    again = attack(afdctl, "my.py:attack", "--json")
    assert "1 cell, 1 done already" in again.err
    assert printed(again)["cells"][0]["key"] == cell["key"]
    rows = [row for row in read_rows(folder / "runs/nt/events.ndjson") if row["event"] == "warning"]
    outside = r"my.attack: \d+ of \d+ x' at 0.1 were outside the ball or \[0, 1\], and were clipped"
    assert any(re.fullmatch(outside, row["message"]) for row in rows)
    # a result that is only shown again has its warnings too
    assert re.search(outside, " ".join(printed(again)["curves"][0]["warnings"]))


def test_a_changed_file_is_another_attack_and_a_moved_one_is_the_same(afdctl: Afdctl, folder: Path):
    def key(name: str) -> str:
        (cell,) = printed(attack(afdctl, name, "--json"))["cells"]
        return str(cell["key"])

    (folder / "a").mkdir()
    (folder / "a" / "own.py").write_text("import part\ndef f(model, x, y, *, epsilon): return part.move(x)\n")
    number = "float(Path(__file__).with_name('n.txt').read_text())"
    (folder / "a" / "part.py").write_text(f"from pathlib import Path\ndef move(x): return x + {number}\n")
    (folder / "a" / "n.txt").write_text("0.02")
    first = key("a/own.py:f")
    (folder / "a").rename(folder / "b")
    assert key("b/own.py:f") == first
    # a file that is read only while it attacks
    (folder / "b" / "n.txt").write_text("0.04")
    second = key("b/own.py:f")
    (folder / "b" / "part.py").write_text("def move(x): return x\n")
    assert len({first, second, key("b/own.py:f")}) == 3


def test_in_a_suite_with_keys_of_its_own(afdctl: Afdctl, folder: Path):
    (folder / "suites").mkdir()
    suite = folder / "suites" / "own.toml"
    text = """
        [[attack]]
        name = "../my.py:attack"
        epsilons = [0, 0.1]
        steps = 2
        [[attack]]
        name = "../my.py:attack"
        label = "longer"
        epsilons = [0, 0.1, 0.2]
        steps = 4
        [[attack]]
        name = "../my.py:Nearest"
        epsilons = [0, 4, 8]
        [[attack]]
        name = "fgsm"
        epsilons = [0, 0.1]
    """
    suite.write_text(text)
    found = printed(afdctl("sweep", "nt", "--suite", "suites/own.toml", "--limit", "20", "--json"))
    curves = {curve["attack"]: curve for curve in found["curves"]}
    assert list(curves) == ["my.attack", "longer", "nearest", "fgsm"]
    assert [curve["norm"] for curve in found["curves"]] == ["linf", "linf", "l2", "linf"]
    assert curves["nearest"]["schedule"] == "once"
    assert afdctl("suites", "show", "suites/own.toml", "--dataset", "digits").code == 0
    for right, wrong, message in (
        ("steps = 2", "stepss = 2", ":5: my.py:attack.stepss: no such key (did you mean 'steps'?)"),
        ("steps = 4", 'steps = "4"', ':10: longer.steps = "4": must be a whole number; remove the quotes: 4'),
        ("py:Nearest", "py:Nearer", ":12: attack.name: my.py: has no 'Nearer' (did you mean 'Nearest'?)"),
    ):
        suite.write_text(text.replace(right, wrong))
        ended = afdctl("sweep", "nt", "--suite", "suites/own.toml")
        assert ended.code == 2
        assert ended.err.splitlines()[-1] == f"error: suites/own.toml{message}"


def test_it_is_shown_wherever_attacks_are(afdctl: Afdctl, folder: Path):
    sweep = (
        "sweep",
        "nt",
        "--attacks",
        "my.py:attack,pgd_linf",
        "--set",
        "steps=3",
        "--epsilons",
        "0,0.1",
        "--limit",
        "40",
    )
    assert "my.attack" in afdctl(*sweep).out
    run = Run(folder / "runs" / "nt")
    assert "my.attack" in afdctl("watch", "nt", "--once").out
    assert "my.attack" in afdctl("runs", "show", "nt").out
    assert "my.attack" in afdctl("export", "nt", "--cells", "csv").out
    assert afdctl("export", "nt", "--report", "report.html").code == 0
    assert "my.attack" in (folder / "report.html").read_text()
    import h5py

    with h5py.File(run.results_path) as results:
        assert results["attacks/my.attack/0.1"].attrs["n"] == 40


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "shape",
            "my.py:21: shape() returned float32 of shape (2, 1, 2, 8); x' is a tensor of floats of shape (2, 1, 8, 8)",
        ),
        ("nothing", "my.py:22: nothing() returned a NoneType; x' is a tensor of floats of shape (2, 1, 8, 8)"),
        ("integers", "my.py:23: integers() returned int64 of shape (2, 1, 8, 8); x' is a tensor of floats"),
        ("raises", f"my.py:{RAISES}: ValueError: no luck"),
        ("exits", f"my.py:{RAISES + 1}: SystemExit: 0"),
        ("weights", "my.py:27: weights() changes the network under attack; attack a copy of it"),
        ("few", "my.py:34: few: takes 1 arguments by position; an attack is a function attack(model, x, y"),
        ("no_default", "my.py:35: no_default: its argument k has no default; give it one"),
        ("Clash", "my.py:36: Clash: its key epsilons is one that all have; rename it"),
        ("BuiltIn", "my.py:40: BuiltIn: its label 'aa' is a built-in name; choose another one"),
        ("number", "my.py: number: is an int, not a function or a class"),
        ("atack", "my.py: has no 'atack' (did you mean 'attack'?)"),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, name: str, message: str):
    ended = attack(afdctl, f"my.py:{name}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("my.py", 2, "--attack my.py: no such attack (known: "),
        ("no.py:f", 3, "no.py: no such file"),
        ("no.such.module:f", 3, "no.such.module: no such module; a file's name ends in .py"),
        ("my.py:", 2, "--attack 'my.py:': name a function or class too, such as path/to/file.py:Name"),
    ],
)
def test_names_without_code(afdctl: Afdctl, name: str, code: int, message: str):
    ended = attack(afdctl, name)
    assert ended.code == code
    assert ended.err.splitlines()[-1].startswith(f"error: {message}")


def test_an_attack_that_returns_nothing_valid_has_no_accuracy(afdctl: Afdctl, folder: Path):
    ended = attack(afdctl, "my.py:nan", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"error: my.py:\d+: nan\(\) returned NaN for all \d+ images at epsilon 0.1, so", ended.err)
    # only the images that are attacked a second time
    (folder / "late.py").write_text("def late(model, x, y, *, epsilon): return x / (epsilon < 0.15)\n")
    late = afdctl("sweep", "nt", "--attacks", "late.py:late", "--epsilons", "0,0.1,0.2", "--limit", "40")
    assert (late.code, late.out) == (2, "")
    assert "at epsilon 0.2, so there is no accuracy" in late.err


def test_what_was_wrong_is_shown_with_every_result(afdctl: Afdctl, folder: Path):
    text = "    out = model(x).sum() * 0 + x + 2 * epsilon\n    out[0] = float('nan')\n    return out\n"
    blind = "def blind(model, x, y, *, epsilon): return x\n"
    (folder / "part.py").write_text(f"def part(model, x, y, *, epsilon):\n{text}{blind}")
    sweep = ("sweep", "nt", "--attacks", "part.py:part,part.py:blind", "--epsilons", "0,0.1", "--limit", "40")
    for _ in range(2):
        ended = afdctl(*sweep)
        assert re.search(r"part.part: NaN in 1 of \d+ x' at 0.1; x counts instead: accuracy is up to 2.5 po", ended.out)
        assert re.search(r"part.part: \d+ of \d+ x' at 0.1 were outside the ball", ended.out)
        assert ended.out.count("never calls the model") == 1
        assert "part.blind: never calls the model, so its x' do not depend on it" in ended.out
    cells = [cell for cell in read_rows(folder / "runs/nt/events.ndjson") if cell.get("attack") == "part.part"]
    faults = [cell["faults"] for cell in cells if cell["event"] == "cell"]
    assert faults[0]["nan"] + faults[0]["outside"] == faults[0]["returned"]


def test_two_attacks_of_one_name_are_refused(afdctl: Afdctl, folder: Path):
    (folder / "other").mkdir()
    (folder / "other" / "my.py").write_text("def attack(model, x, y, *, epsilon): return x\n")
    ended = afdctl("sweep", "nt", "--attacks", "my.py:attack,other/my.py:attack", "--epsilons", "0.1")
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == "error: --attacks: two attacks have the name my.attack; give one a `label`"


def test_prints_and_global_state(afdctl: Afdctl):
    import torch

    before = torch.get_rng_state(), torch.get_num_threads()
    noisy = attack(afdctl, "my.py:noisy", "--json")
    assert "on stdout" in noisy.err
    assert printed(noisy)["cells"][0]["n"] == 40
    assert torch.get_rng_state().equal(before[0])
    assert torch.get_num_threads() == before[1]


def test_what_was_done_before_a_failure_is_kept(afdctl: Afdctl, folder: Path):
    # trials are shorter
    late = "    if steps > 3: raise ValueError('late')\n    return x\n"
    (folder / "late.py").write_text(f"def late(model, x, y, *, epsilon, steps: int = 4):\n{late}")
    ended = afdctl("sweep", "nt", "--attacks", "fgsm,late.py:late", "--epsilons", "0,0.07,0.2", "--limit", "30")
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == "error: late.py:2: ValueError: late"
    rows = list(read_rows(folder / "runs/nt/events.ndjson"))
    assert {row["attack"] for row in rows if row["event"] == "cell" and row["epsilon"] == 0.07} == {"fgsm"}
    assert [row for row in rows if row["event"] == "sweep_end"][-1]["reason"] == "failed"


def test_the_example(afdctl: Afdctl):
    example = ROOT / "docs" / "examples" / "feature_attack.py"
    name = f"{example}:FeatureAttack"
    (cell,) = printed(attack(afdctl, name, "--json", "--set", "steps=10"))["cells"]
    assert (cell["attack"], cell["spec"]["weight"]) == ("features", 1.0)
    assert cell["accuracy"] < cell["acc_nat"]
    # its random numbers belong to the images, but only its author knows
    assert cell["spec"]["batch_size"] == 40
