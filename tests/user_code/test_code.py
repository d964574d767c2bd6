"""A user's code by name: found, recorded, executed again after a change; its mistakes are one line."""

import os
import random
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from afdctl import registry, user_code
from afdctl.errors import AfdctlError, NotFoundError, RecipeError
from afdctl.user_code import code

MINE = """
from pathlib import Path
import beside
VALUE = Path(__file__).with_name("table.txt").read_text()

class Mine:
    label = "My defense"

    def step(self, x, y): ...

    def fail(self):
        raise ValueError("too many\\nlines")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # those of a command that another test ran
    monkeypatch.setattr(user_code, "announcers", [])
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    (folder / "beside.py").write_text("x = 1\n")
    (folder / "table.txt").write_text("1 2 3")
    return folder


def name_of(folder: Path, text: str = "mine.py:Mine") -> str:
    return registry.resolve(registry.DEFENSES, text, folder)


def code_of(name: str) -> code.UserCode:
    found = registry.user_code(registry.DEFENSES, name)
    assert found
    return found


def test_a_name_is_a_place_relative_to_the_file_that_has_it(folder: Path):
    assert name_of(folder) == f"{folder}/mine.py:Mine"
    assert name_of(folder, "package.module:Mine") == "package.module:Mine"
    assert name_of(folder, "afd") == "afd"
    assert registry.user_code(registry.DEFENSES, "afd") is None


def test_a_name_is_executed_once_and_again_after_a_change(folder: Path):
    name = name_of(folder)
    first = code_of(name)
    digests = {first.digest()}
    assert registry.load(registry.DEFENSES, name) is first.module.Mine
    assert code_of(name) is first
    (folder / "beside.py").write_text("x = 2\n")
    second = code_of(name)
    assert second is not first
    digests.add(second.digest())
    (folder / "table.txt").write_text("3 2 1 0")
    assert code_of(name).module.VALUE == "3 2 1 0"
    assert len(digests | {code_of(name).digest()}) == 3


def test_what_is_executed_and_read_beside_it_is_recorded(folder: Path):
    assert set(code_of(name_of(folder)).files()) == {"mine.py", "beside.py", "table.txt"}


def test_what_another_thread_reads_meanwhile_is_not_the_codes(folder: Path):
    """The journal's thread reads its lock while a step runs, and `runs` is often beside the user's file."""
    mine = code_of(name_of(folder))
    (folder / "events.ndjson.lock").touch()
    with mine.running():
        thread = threading.Thread(target=(folder / "events.ndjson.lock").read_text)
        thread.start()
        thread.join()
        (folder / "beside.py").with_suffix(".txt").touch()
        (folder / "beside.txt").read_text()
    assert {path.name for path in mine.imports.reads} == {"table.txt", "beside.txt"}


def test_modules_that_a_function_imports_are_recorded_before_it_runs(folder: Path):
    (folder / "package").mkdir()
    (folder / "package/__init__.py").write_text("def late():\n    from . import part\n")
    (folder / "package/part.py").write_text("import math, late2\n")
    (folder / "late2.py").write_text("x = 3\n")
    (folder / "unused.py").write_text("x = 3\n")
    (folder / "mine.py").write_text(MINE + "\n    def later(self):\n        import package.part\n        return math\n")
    files = code_of(name_of(folder)).files()
    assert set(files) == {"mine.py", "beside.py", "table.txt", "package/__init__.py", "package/part.py", "late2.py"}
    first = code_of(name_of(folder)).digest()
    (folder / "late2.py").write_text("x = 4\n")
    assert code_of(name_of(folder)).digest() != first


def test_the_code_is_announced_before_it_is_executed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    places: list[str] = []
    monkeypatch.setattr(user_code, "announcers", [places.append])
    (folder / "bad.py").write_text("1 / 0")
    for name in ("mine.py:Mine", "mine.py:Mine", "bad.py:Mine"):
        with pytest.raises(RecipeError) if "bad" in name else open(os.devnull):
            registry.load(registry.DEFENSES, name_of(folder, name))
    assert places == ["code/mine.py", "code/bad.py"]


def test_a_descriptor_has_the_attributes_of_the_class(folder: Path):
    name = name_of(folder)
    assert registry.describe(registry.DEFENSES, name).label == "My defense"
    # as a run recorded it, without the file
    (folder / "mine.py").unlink()
    assert registry.describe(registry.DEFENSES, name, {"label": "Recorded", "other": 1}).label == "Recorded"


def test_an_exception_has_the_users_file_and_line(folder: Path):
    mine = code_of(name_of(folder))
    with pytest.raises(RecipeError, match=r"^code/mine\.py:12: a step: ValueError: too many$"), mine.running("a step"):
        mine.module.Mine().fail()


def test_global_state_is_restored(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "greedy.py").write_text(
        "import os, random, torch\nimport numpy as np\nprint('loading')\nrandom.seed(1)\nnp.random.seed(1)\n"
        "torch.manual_seed(1)\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
        "torch.set_num_threads(7)\nos.chdir('/')\ndef mine(): ...\n"
    )

    def state() -> list[str]:
        return [
            str(random.getstate()),
            str(np.random.get_state()),
            str(torch.get_rng_state().sum()),
            f"{torch.get_default_dtype()} {torch.is_grad_enabled()} {torch.get_num_threads()} {Path.cwd()} {sys.path}",
        ]

    before = state()
    registry.load(registry.ENCODERS, name_of(folder, "greedy.py:mine"))
    assert state() == before
    assert capsys.readouterr() == ("", "loading\n")


MISTAKES = [
    ("nosuch.py:Mine", NotFoundError, "code/nosuch.py: no such file"),
    ("mine.py:Mime", RecipeError, "code/mine.py: has no 'Mime' (did you mean 'Mine'?)"),
    ("no.such.module:Mine", NotFoundError, "no.such.module: no such module; a file's name ends in .py"),
    ("bad.py:Mine", RecipeError, "code/bad.py:2: ZeroDivisionError: division by zero"),
    ("importer.py:Mine", RecipeError, "code/bad.py:2: ZeroDivisionError: division by zero"),
    ("thread.py:Mine", RecipeError, "the code leaves a thread behind (endless); end it, or make it a daemon"),
    ("mine.py:", RecipeError, "'mine.py:': name a function or class too, such as path/to/file.py:Name"),
    ("aft", RecipeError, "no such defense (did you mean 'afd'?); code of your own is path/to/file.py:Name"),
]


@pytest.mark.parametrize(("text", "kind", "message"), MISTAKES)
def test_a_mistake_is_one_line(folder: Path, text: str, kind: type[AfdctlError], message: str):
    (folder / "bad.py").write_text("\n1 / 0\n")
    (folder / "importer.py").write_text("import bad\n")
    (folder / "thread.py").write_text(
        "import threading\nstop = threading.Event()\nthread = threading.Thread(target=stop.wait, name='endless')\n"
        "thread.start()\nthreading.stop_mine = stop\n"
    )
    try:
        with pytest.raises(kind) as raised:
            registry.load(registry.DEFENSES, name_of(folder, text))
    finally:
        if stop := vars(__import__("threading")).pop("stop_mine", None):
            stop.set()
    assert str(raised.value) == message


def test_an_entry_point_is_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch):
    package = folder / "mine-1.0.dist-info"
    package.mkdir()
    (package / "entry_points.txt").write_text("[afdctl.defenses]\nmy_defense = mine:Mine\n")
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    with monkeypatch.context() as path:
        path.syspath_prepend(str(folder))
        assert name_of(folder, "my_defense") == "my_defense"
        assert registry.load(registry.DEFENSES, "my_defense").label == "My defense"
        assert registry.describe(registry.DEFENSES, "my_defense").label == "My defense"
        with pytest.raises(RecipeError, match="did you mean 'my_defense'"):
            name_of(folder, "my_defence")
    message = "defense 'my_defense': no such name; it was the entry point of a package that is not installed"
    with pytest.raises(NotFoundError, match=message):
        registry.load(registry.DEFENSES, "my_defense")
