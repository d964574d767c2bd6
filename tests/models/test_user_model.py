"""Custom models: built from a file, frozen, normalised inside, identified by their digest."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from afdctl.errors import AfdctlError, CorruptError, NotFoundError, RecipeError
from afdctl.models import user_model
from afdctl.models.user_model import UserModel, digest, parse

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(8, classes), nn.BatchNorm1d(classes), nn.Dropout(0.5))

    def forward(self, x):
        return self.body(x)

def build():
    print("building")
    return Net()

def double():
    return Net().double().eval()

ready = Net().eval()
plain = nn.Flatten
"""


def load(spec: str, weights: Path | None = None, mean: Any = None, std: Any = None) -> UserModel:
    return user_model.load(spec, weights, mean, std, shape=(2, 2, 2))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.fixture
def x(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(3, 2, 2, 2, generator=generator)


@pytest.mark.parametrize("name", ["build", "Net", "double", "ready"])
def test_a_function_a_class_or_a_module_becomes_a_frozen_float32_network(name: str, x: torch.Tensor):
    network = load(f"net.py:{name}")
    assert not any(part.training for part in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}
    assert network(x).shape == (3, 10)


def test_training_mode_is_reported_where_it_matters():
    assert load("net.py:build").warnings == ["the model came in training mode; it is measured in evaluation mode"]
    assert load("net.py:double").warnings == load("net.py:plain").warnings == []


def test_images_are_normalised_inside(x: torch.Tensor):
    mean, std = [0.2, 0.4], [0.5, 0.25]
    network = load("net.py:build", None, mean, std)
    normalised = torch.stack([(x[:, 0] - 0.2) / 0.5, (x[:, 1] - 0.4) / 0.25], 1)
    torch.testing.assert_close(network(x), network.model(normalised))
    torch.testing.assert_close(load("net.py:plain", None, mean, std)(x), normalised.flatten(1))


def test_weights_are_loaded(x: torch.Tensor):
    torch.manual_seed(3)
    trained = load("net.py:double")
    for parameter in trained.parameters():
        nn.init.normal_(parameter)
    torch.save({"state_dict": trained.model.state_dict()}, "w.pth")
    assert torch.equal(load("net.py:build", Path("w.pth"))(x), trained(x))


def test_output_of_the_file_is_not_a_result(capsys: pytest.CaptureFixture[str]):
    load("net.py:build")
    assert capsys.readouterr() == ("", "building\n")


def test_building_uses_a_separate_random_stream_and_keeps_the_path(x: torch.Tensor):
    before, path = torch.get_rng_state(), list(sys.path)
    networks = [load("net.py:build"), load("net.py:build")]
    assert torch.equal(torch.get_rng_state(), before)
    assert sys.path == path
    assert torch.equal(networks[0](x), networks[1](x))


def test_a_file_finds_its_neighbours_and_a_module_is_found_from_the_working_directory(here: Path, monkeypatch):
    (here / "pack_of_mine").mkdir()
    (here / "pack_of_mine/other.py").write_text("from pack_of_mine.base import Net\ndef build(): return Net()")
    (here / "pack_of_mine/base.py").write_text(NET)
    (here / "pack_of_mine/beside.py").write_text("from base_of_mine import build")
    (here / "pack_of_mine/base_of_mine.py").write_text(NET)
    assert isinstance(load("pack_of_mine.other:build"), UserModel)
    assert isinstance(load("pack_of_mine/beside.py:build"), UserModel)


def test_the_digest_is_of_code_name_weights_and_normalisation(here: Path):
    def of(name: str = "build", mean: Any = None, std: Any = None, weights: Path | None = None) -> str:
        return digest(load(f"net.py:{name}", weights, mean, std))

    state = load("net.py:build").model.state_dict()
    torch.save(state, "same.pt")
    state["body.1.bias"][0] += 1
    torch.save(state, "other.pt")
    same = {of(), of(weights=Path("same.pt"))}
    assert len(same) == 1
    assert len(same.pop()) == 64
    different = [of(), of("Net"), of(mean=[0.0], std=[1.0]), of(mean=[0.1], std=[1.0]), of(weights=Path("other.pt"))]
    (here / "net.py").write_text(NET + "\n# changed\n")
    assert len({*different, of()}) == len(different) + 1


def of(file: str = "net.py") -> str:
    return digest(load(f"{file}:build"))


def rewritten(file: Path, old: str, new: str) -> None:
    """Another text of the same size at the same time, as an outdated .pyc could not tell apart."""
    before = file.stat()
    assert len(old) == len(new)
    file.write_text(file.read_text().replace(old, new))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("place", ["base.py", "pack/base.py", "pack/__init__.py"])
def test_imported_code_is_in_the_digest_and_executed_again(here: Path, place: str, x: torch.Tensor):
    (here / "pack").mkdir()
    (here / "pack/__init__.py").write_text("")
    (here / place).write_text(NET.replace("self.body(x)", "1.0 * self.body(x)"))
    module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    (here / "net.py").write_text(f"from {module} import build\n")
    before, logits = of(), load("net.py:build")(x)
    assert of() == before
    rewritten(here / place, "1.0 *", "2.0 *")
    assert of() != before
    assert torch.equal(load("net.py:build")(x), 2 * logits)


def test_code_that_is_imported_by_the_forward_pass_is_in_the_digest(here: Path, x: torch.Tensor):
    (here / "late.py").write_text("factor = 1.0")
    (here / "net.py").write_text(
        NET.replace("return self.body(x)", "from late import factor; return factor * self.body(x)")
    )
    before = of()
    rewritten(here / "late.py", "1.0", "2.0")
    assert of() != before


def test_modules_of_the_same_name_in_other_folders_are_not_mixed_up(here: Path):
    for number, folder in enumerate("ab"):
        (here / folder).mkdir()
        (here / folder / "same.py").write_text(f"bias = {number}.0\n")
        (here / folder / "net.py").write_text(
            "from same import bias\n" + NET.replace("Net()", "Net().requires_grad_(bool(bias))")
        )
    assert of("a/net.py") != of("b/net.py")


PASSES = {
    "a file": ("from same import factor", "same.py"),
    "a package without __init__.py": ("from pack import same; factor = same.factor", "pack/same.py"),
    "late": ("if len(x) > 1: from same import factor\n        else: factor = 0", "same.py"),
}


@pytest.mark.parametrize(("line", "file"), PASSES.values(), ids=PASSES)
def test_two_models_that_import_late_each_find_their_own_neighbour(here: Path, x: torch.Tensor, line: str, file: str):
    for folder, factor in (("a", 1.0), ("b", 2.0)):
        (here / folder / file).parent.mkdir(parents=True)
        (here / folder / file).write_text(f"factor = {factor}\n")
        (here / folder / "net.py").write_text(
            NET.replace("return self.body(x)", f"{line}\n        return factor * self.body(x)")
        )
    path, one, two = list(sys.path), load("a/net.py:build"), load("b/net.py:build")
    before = digest(one)
    for _ in range(2):
        assert torch.equal(2 * one(x), two(x))
    assert digest(one) == before
    assert sys.path == path


BACKWARD = """
import torch
from torch import nn
import same

class Late(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        from same import factor
        return factor * gradient.reshape(-1, 2, 2, 2)

class Net(nn.Module):
    def forward(self, x):
        return Late.apply(x)
"""


def test_a_backward_pass_finds_the_neighbour_of_its_own_forward_pass(here: Path, x: torch.Tensor):
    for folder, factor in (("a", 1.0), ("b", 2.0)):
        (here / folder).mkdir()
        (here / folder / "same.py").write_text(f"factor = {factor}\n")
        (here / folder / "net.py").write_text(BACKWARD)
    networks = [load("a/net.py:Net"), load("b/net.py:Net")]
    x.requires_grad_()
    factors = [torch.autograd.grad(network(x).sum(), x)[0].unique().tolist() for network in networks]
    assert factors == [[1.0], [2.0]]


def test_a_neighbour_of_one_model_is_none_of_another(here: Path, x: torch.Tensor):
    line = "try: from only_here import factor\n        except ImportError: factor = 1.0\n        "
    for folder in "ab":
        (here / folder).mkdir()
        (here / folder / "net.py").write_text(NET.replace("return self.body(x)", f"{line}return factor * self.body(x)"))
    (here / "a/only_here.py").write_text("factor = 2.0\n")
    other, one = load("b/net.py:build"), load("a/net.py:build")
    assert torch.equal(one(x), 2 * other(x))


def test_modules_that_others_have_imported_are_put_back(here: Path, monkeypatch: pytest.MonkeyPatch):
    (here / "a").mkdir()
    (here / "a/net.py").write_text("import of_others\n" + NET)
    (here / "a/of_others.py").write_text("")
    there = ModuleType("of_others")
    there.__file__ = str(here / "a/of_others.py")
    monkeypatch.setitem(sys.modules, "of_others", there)
    load("a/net.py:build")
    assert sys.modules["of_others"] is not there
    load("net.py:build")
    assert sys.modules["of_others"] is there


LAZY = """
from torch import nn

def build():
    return nn.Sequential(nn.LazyConv2d(4, 2), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(10))

def meta():
    return nn.Linear(8, 10, device="meta")

def idle():
    model = build()
    model[0].spare = nn.LazyLinear(3)
    return model
"""


def test_lazy_parameters_get_their_shapes_from_an_image(here: Path, x: torch.Tensor):
    (here / "net.py").write_text(LAZY)
    network = load("net.py:build")
    assert network(x).shape == (3, 10)
    torch.save(load("net.py:build").model.state_dict(), "w.pt")
    assert digest(load("net.py:build", Path("w.pt"))) == digest(network)


ODD = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return self.answer(x)

def of(answer):
    net = Net()
    net.answer = answer
    return net

def leaves():
    return of(lambda x: exit(3))

def escapes():
    raise ValueError("\\x1b[2Jred")

def endless():
    return of(endless_call)

def endless_call(x):
    return endless_call(x)

def odd_error():
    raise GeneratorExit("odd")
"""
REJECTS = "the model rejects images of shape (1, 2, 2, 2)"
ODD_MODELS = [
    ("lazy.py:meta", "the model: has tensors without values on the meta device (weight, bias); build it on the CPU"),
    (
        "lazy.py:idle",
        "the model: has lazy tensors without values (0.spare.weight, 0.spare.bias); pass images through them",
    ),
    ("odd.py:leaves", f"{REJECTS}: SystemExit: 3"),
    ("odd.py:escapes", "odd.py:17: escapes() failed: ValueError: \\x1b[2Jred"),
    (
        "odd.py:endless",
        "the model rejects images of shape (1, 2, 2, 2): RecursionError: maximum recursion depth exceeded",
    ),
    ("odd.py:odd_error", "odd.py:26: odd_error() failed: GeneratorExit: odd"),
]


@pytest.mark.parametrize(("spec", "message"), ODD_MODELS)
def test_an_odd_model_is_one_line(here: Path, spec: str, message: str):
    (here / "lazy.py").write_text(LAZY)
    (here / "odd.py").write_text(ODD)
    with pytest.raises(RecipeError) as raised:
        load(spec)
    assert str(raised.value) == message


def test_full_memory_is_one_line(here: Path):
    (here / "net.py").write_text(NET.replace("self.body(x)", "torch.empty(10**15)"))
    with pytest.raises(AfdctlError, match=r"^the memory is too small for a single image$") as raised:
        load("net.py:build")
    assert raised.value.exit_code == 1


def test_output_of_the_forward_pass_is_not_a_result(here: Path, x: torch.Tensor, capsys: pytest.CaptureFixture[str]):
    (here / "net.py").write_text(NET.replace("return self.body(x)", "print('passed'); return self.body(x)"))
    load("net.py:build")(x)
    assert capsys.readouterr() == ("", "building\npassed\npassed\n")


def test_a_spec_can_be_named_from_anywhere(here: Path):
    assert str(parse("net.py:build")) == f"{here}/net.py:build"
    assert str(parse("package.module:build")) == "package.module:build"
    assert (parse("a/net.py:build").stem, parse("package.module:build").stem) == ("net", "module")


MISTAKES = [
    ("net.py", 2, "--model 'net.py': name a function or class too, such as path/to/file.py:Name"),
    ("net.py:", 2, "--model 'net.py:': name a function or class too, such as path/to/file.py:Name"),
    (":build", 2, "--model ':build': name a function or class too, such as path/to/file.py:Name"),
    ("nosuch.py:build", 3, "nosuch.py: no such file"),
    ("nosuch.module:build", 3, "nosuch.module: no such module; a file's name ends in .py"),
    ("net.py:biuld", 2, "net.py: has no 'biuld' (did you mean 'build'?)"),
    ("net.py:zzzz", 2, "net.py: has no 'zzzz' (it must be a function or a class)"),
    ("bad.py:fails", 2, "bad.py:2: fails() failed: ValueError: boom"),
    ("bad.py:needs", 2, "bad.py: needs() failed: TypeError: needs() missing 1 required positional argument: 'width'"),
    ("bad.py:number", 2, "bad.py: number() returned an int, not a torch.nn.Module"),
    ("bad.py:none", 2, "bad.py: none() returned a NoneType, not a torch.nn.Module"),
    ("bad.py:leaves", 2, "bad.py:6: leaves() failed: SystemExit: 3"),
    ("syntax.py:build", 2, "syntax.py:2: SyntaxError: '(' was never closed"),
    ("raises.py:build", 2, "raises.py:3: ModuleNotFoundError: No module named 'nosuch_library'"),
    ("raises:build", 2, "raises.py:3: ModuleNotFoundError: No module named 'nosuch_library'"),
]
BAD = """def fails():
    raise ValueError("boom\\nand more")
def needs(width): pass
def none(): pass
def leaves():
    exit(3)
def number(): return 3
"""


@pytest.mark.parametrize(("spec", "code", "message"), MISTAKES)
def test_a_mistake_is_one_line(here: Path, spec: str, code: int, message: str):
    (here / "bad.py").write_text(BAD)
    (here / "syntax.py").write_text("x = 1\ny = (\n")
    (here / "raises.py").write_text("import torch\n\nimport nosuch_library\n")
    with pytest.raises(AfdctlError) as raised:
        load(spec)
    assert (raised.value.exit_code, str(raised.value)) == (code, message)


NORMALISATIONS = [
    ([0.5], None, "--mean and --std belong together; give both, a value per channel, or neither"),
    (None, [0.5], "--mean and --std belong together; give both, a value per channel, or neither"),
    ([0.5], [0.5, 0.5], "--mean has 1 values and --std 2; give one per channel in each"),
    ([0.5, 0.5], [0.5, 0.0], "--std 0.5,0: must be greater than 0, as images are divided by it"),
    ([0.5], [float("nan")], "--std nan: must be greater than 0, as images are divided by it"),
    ([127.5], [0.5], "--mean 127.5: images are in [0, 1]; did you mean 0.5?"),
]


@pytest.mark.parametrize(("mean", "std", "message"), NORMALISATIONS)
def test_a_wrong_normalisation_is_one_line(mean: Any, std: Any, message: str):
    with pytest.raises(RecipeError) as raised:
        load("net.py:build", None, mean, std)
    assert str(raised.value) == message


def test_missing_and_damaged_weights():
    with pytest.raises(NotFoundError, match=r"^nosuch.pt: no such file$"):
        load("net.py:build", Path("nosuch.pt"))
    Path("bad.pt").write_bytes(b"no weights")
    with pytest.raises(CorruptError, match=r"^bad.pt: "):
        load("net.py:build", Path("bad.pt"))
