import json
import subprocess
import sys
from urllib.error import URLError

import numpy as np
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


@pytest.fixture
def svhn(tmp_path):
    path = tmp_path / "svhn.npz"
    x, y = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), np.arange(20) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x[:10] ^ 255, y_test=y[:10])
    return path


def test_show_reads_a_data_set_or_a_file_of_arrays(afdctl, svhn):
    lines = [
        f"arrays: {svhn}",
        "train    20 images, 3x32x32 uint8; 2 in a class",
        "test     10 images, 3x32x32 uint8; 1 in a class",
        "classes  10",
    ]
    for arguments in ([svhn], ["arrays", "--data-dir", svhn]):
        code, out, err = afdctl("show", *arguments)
        assert (code, err, out.splitlines()[:4]) == (0, "", lines)
    answer = json.loads(afdctl("show", svhn, "--json")[1])
    assert answer["schema"] == "afdctl/1"
    assert answer["test"]["per_class"] == dict.fromkeys("0123456789", 1)
    assert out.splitlines()[4] == f"digest   {answer['digest']}"
    assert afdctl("show", "digits")[1].startswith("digits: embedded\ntrain    1,437 images, 1x8x8 uint8; 139 to 146")


def test_ls_and_verify_know_a_file_of_arrays(afdctl, svhn):
    row = afdctl("ls", "--data-dir", svhn)[1].splitlines()[-1]
    assert row.split() == ["arrays", "your", "own", "images", str(svhn)]
    code, out, _ = afdctl("verify", "arrays", "--data-dir", svhn)
    assert (code, out) == (0, "arrays         ok       20 + 10 images, 10 classes\n")


def test_show_of_what_is_no_data(afdctl, svhn):
    svhn.write_bytes(b"PK")
    code, out, err = afdctl("show", svhn)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {svhn}: not a .npz file of arrays, or damaged (")
    assert afdctl("show", "none.npz")[::2] == (
        3,
        "error: none.npz: no such file; name a file of arrays with data.path or --data-dir\n",
    )
    assert afdctl("show", "mnist")[0] == 3


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


@pytest.mark.parametrize("command", ["fetch", "show", "verify"])
def test_an_unknown_name_is_a_usage_error_with_the_nearest(afdctl, command):
    code, out, err = afdctl(command, "mnsit")
    assert (code, out) == (2, "")
    assert err.startswith("error: no data set 'mnsit' (did you mean 'mnist'?)")


def test_help_does_not_import_torch():
    script = "import sys; from typer.testing import CliRunner; from afdctl.cli import app\n"
    script += "print(CliRunner().invoke(app, ['data', 'ls', '--help']).exit_code, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0", "False"]
