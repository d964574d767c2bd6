import json
import subprocess
import sys
from urllib.error import URLError

import pytest
from PIL import Image

from afdctl import registry
from afdctl.cli import main


@pytest.fixture
def afdctl(tmp_path, monkeypatch, capsys):
    """Run `afdctl data ...` in this process, offline and with an empty cache: (exit code, stdout, stderr)."""

    def refuse(*_, **__):
        raise URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["afdctl", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            main()
        return raised.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def fruit(tmp_path):
    for split in ("train", "test"):
        for name in ("apple", "lime"):
            path = tmp_path / "fruit" / split / name / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (16, 16)).save(path)
    return tmp_path / "fruit"


def test_ls_lists_every_data_set(afdctl, fruit):
    code, out, err = afdctl("ls", "--data-dir", fruit)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert (code, err) == (0, "")
    assert list(lines) == list(registry.DATASETS)
    assert lines["digits"].split() == ["digits", "1,437", "+", "360", "10", "classes", "1x8x8", "embedded"]
    assert lines["mnist"].split() == ["mnist", "60,000", "+", "10,000", "10", "classes", "1x28x28", "missing"]
    assert lines["folder"].endswith(str(fruit))


def test_ls_json(afdctl, fruit):
    code, out, _ = afdctl("ls", "--json", "--data-dir", fruit)
    answer = json.loads(out)
    rows = {row["name"]: row for row in answer["datasets"]}
    assert (code, answer["schema"]) == (0, "afdctl/1")
    assert rows["cifar100"] == {
        "name": "cifar100",
        "train": 50_000,
        "test": 10_000,
        "classes": 100,
        "shape": [3, 32, 32],
        "found": None,
    }
    assert rows["folder"] == {"name": "folder", "found": str(fruit)}


def test_verify_says_what_is_whole_and_what_is_missing(afdctl, fruit):
    code, out, _ = afdctl("verify", "--data-dir", fruit)
    words = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert code == 0
    assert words["digits"] == "ok       1,437 + 360 images, 10 classes"
    assert words["folder"] == "ok       2 + 2 images, 2 classes"
    assert words["cifar10"] == "missing"


def test_verify_of_a_missing_name_fails(afdctl):
    code, out, _ = afdctl("verify", "digits", "mnist")
    assert code == 3
    assert [line.split()[:2] for line in out.splitlines()] == [["digits", "ok"], ["mnist", "missing"]]


def test_verify_names_what_is_corrupt(afdctl, fruit):
    path = fruit / "test" / "lime" / "0.png"
    path.write_bytes(b"broken")
    code, out, _ = afdctl("verify", "mnist", "folder", "--data-dir", fruit)
    assert code == 3
    assert f"folder         corrupt  {path}: " in out


def test_fetch_of_what_is_present(afdctl, fruit):
    assert afdctl("fetch", "digits", "folder", "--data-dir", fruit) == (
        0,
        f"digits: already present (embedded)\nfolder: already present ({fruit})\n",
        "",
    )


def test_fetch_without_network(afdctl):
    code, out, err = afdctl("fetch", "cifar10")
    assert (code, out) == (3, "")
    assert err.startswith("error: cifar10 is not on this machine, and downloading it failed (")
    assert "md5 c58f30108f718f92721af3b95e74349a" in err


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_an_unknown_name_is_a_usage_error_with_the_nearest(afdctl, command):
    code, out, err = afdctl(command, "mnsit")
    assert (code, out) == (2, "")
    assert err.startswith("error: no data set 'mnsit' (did you mean 'mnist'?)")


def test_help_does_not_import_torch():
    script = "import sys; from typer.testing import CliRunner; from afdctl.cli import app\n"
    script += "print(CliRunner().invoke(app, ['data', 'ls', '--help']).exit_code, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0", "False"]
