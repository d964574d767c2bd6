"""A user's analysis by name, from the command line to the report; and new built-in ones by a line in the registry."""

import json
from pathlib import Path
from typing import Any, Literal

import h5py
import pytest

import afdctl
from afdctl import registry
from afdctl.analysis.base import AnalysisInputs
from afdctl.attacks.base import AttackResult
from afdctl.registry import AnalysisDescriptor, Descriptor
from afdctl.suites.attack_config import AttackConfig
from tests.cli.conftest import Afdctl, Ended
from tests.conftest import short, train

ROOT = Path(afdctl.__file__).parents[1]
SMALL = ("--limit", "24", "--epsilons", "0,0.1")
MY = """
import numpy
import afdctl
def plain(inputs, *, factor: int = 2):
    print("on stdout")
    numpy.random.seed(3)
    return {"count": factor * len(inputs.label), "mean": inputs.natural.z.mean(), "list": [1, 2]}
class Classes:
    needs, label = "grid", "classes"
    class Config(afdctl.AnalysisConfig):
        kind: str = "x"
    def __call__(self, inputs, *, kind):
        z = inputs.features_at(inputs.grid.title, inputs.grid.epsilons[0]).z
        return afdctl.AnalysisResult({"kind": kind, "images": len(z)}, {"z": z})
def number(inputs): return 3
def objects(inputs): return {"a": object()}
def raises(inputs): raise KeyError("x")
def clash(inputs): return {"n": 1}
def needy(inputs): return {}
needy.needs = "all"
three = 3
"""


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    train(short("digits_nt"), folder / "runs", name="nt")
    (folder / "my.py").write_text(MY)


def analyses(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    return {one["name"]: one for one in json.loads(ended.out)["analyses"]}


def test_its_metrics_and_arrays_are_kept_and_shown(afdctl: Afdctl, folder: Path):
    command = ("analyze", "nt", *SMALL, "--analysis", "my.py:plain", "--analysis", "my.py:Classes", "--set", "factor=3")
    shown = afdctl(*command)
    assert shown.code == 0, shown.err
    assert "on stdout" in shown.err
    assert "my.plain: 24 of 360 test images" in shown.out
    assert "--json shows list." in shown.out
    found = analyses(afdctl(*command, "--json"))
    assert list(found) == ["my.plain", "classes"]
    assert (found["my.plain"]["count"], found["my.plain"]["list"], found["classes"]["kind"]) == (72, [1, 2], "x")
    with h5py.File(folder / "runs/nt/results.h5") as results:
        assert results["analysis/classes/z"].shape[0] == 24
        assert results["analysis/my.plain"].attrs["count"] == 72
    afdctl("export", "nt", "--report", "report.html")
    assert "my.plain: count = 72" in (folder / "report.html").read_text()
    assert "my.plain" in afdctl("runs", "show", "nt").out
    # an edited file is another analysis
    (folder / "my.py").write_text(MY.replace("factor * len", "1 + factor * len"))
    assert analyses(afdctl(*command, "--json"))["my.plain"]["count"] == 73
    (folder / "my.py").write_text(MY)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "my.py:number",
            2,
            "my.py:15: number() returned an int; metrics are a dictionary",
        ),
        ("my.py:objects", 2, "my.py:16: objects() returned a metric that is no number, text, list or table: an object"),
        ("my.py:raises", 2, "my.py:17: KeyError: 'x'"),
        ("my.py:clash", 2, "my.py:18: clash() returned the metric n, which all have; rename it"),
        ("my.py:needy", 2, "my.py:19: needy: needs = 'all': must be 'natural', 'grid', 'attacks'"),
        ("my.py:three", 2, "my.py: three: is an int, not a function or a class"),
        ("my.py:plan", 2, "my.py: has no 'plan' (did you mean 'plain'?)"),
        ("no.py:f", 3, "no.py: no such file"),
        ("nosuch", 2, "--analysis nosuch: no such analysis (known: pca, "),
        ("pca --set dims=3", 2, "--set dims: no selected analysis has this key (none has keys)"),
        ("my.py:plain --set factor=a", 2, '--set my.plain.factor = "a": must be a whole number'),
    ],
)
def test_mistakes_are_one_line(afdctl: Afdctl, name: str, code: int, message: str):
    ended = afdctl("analyze", "nt", *SMALL, "--analysis", *name.split())
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.splitlines()[-1].startswith(f"error: {message}")


def test_the_example(afdctl: Afdctl):
    example = f"{ROOT / 'docs' / 'examples' / 'class_overlap.py'}:class_overlap"
    found = analyses(afdctl("analyze", "nt", *SMALL, "--analysis", example, "--set", "neighbours=3", "--json"))
    assert 0 < found["overlap"]["natural"] <= 1


class DummyConfig(AttackConfig):
    name: Literal["dummy"]


def dummy_attack(model: Any, x: Any, y: Any, *, epsilon: float, rng: Any, norm: str) -> AttackResult:
    return AttackResult.empty(x)


def dummy_analysis(inputs: AnalysisInputs) -> afdctl.AnalysisResult:
    return afdctl.AnalysisResult({"images": len(inputs.label)})


def test_a_line_in_the_registry_is_enough(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """It reaches sweep, analyze, the dashboard and exports."""
    monkeypatch.setitem(
        registry.ATTACKS.entries,
        "dummy",
        Descriptor(place=f"{__name__}:dummy_attack", config=f"{__name__}:DummyConfig"),
    )
    descriptor = AnalysisDescriptor(place=f"{__name__}:dummy_analysis")
    monkeypatch.setitem(registry.ANALYSES.entries, "dummy", descriptor)
    swept = afdctl("sweep", "nt", "--attacks", "dummy,fgsm", "--epsilons", "0,0.1", "--limit", "24", "--json")
    assert swept.code == 0, swept.err
    assert [curve["attack"] for curve in json.loads(swept.out)["curves"]] == ["dummy", "fgsm"]
    assert analyses(afdctl("analyze", "nt", *SMALL, "--analysis", "dummy", "--json"))["dummy"]["images"] == 24
    assert "dummy" in afdctl("watch", "nt", "--once").out
    assert "dummy" in afdctl("export", "nt", "--cells", "csv").out
