"""Test `afdctl export`: its modes, output files and JSON."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from afdctl.cli.export import choose_mode
from afdctl.cli.output_path import ExportOptions
from afdctl.errors import RecipeError
from afdctl.export.weights import single_file
from afdctl.export.weights.format import ExportedModel, Files
from tests.cli.conftest import Afdctl
from tests.conftest import short, train


@pytest.fixture(scope="module", autouse=True)
def trained(folder: Path) -> None:
    """A short run, nt, and a copy of it."""
    train(short("digits_nt", "train.epochs=1"), folder / "runs", name="nt")
    shutil.copytree(folder / "runs/nt", folder / "runs/copy")


def test_the_path_is_on_stdout_and_the_check_on_stderr(afdctl: Afdctl, folder: Path):
    ended = afdctl("export", "nt", "--weights", "safetensors")
    assert ended.code == 0, ended.err
    path = ended.out.strip()
    assert path.startswith("nt-")
    assert path.endswith(".safetensors")
    assert (folder / path).is_file()
    assert "the logits of 256 test images differ by at most 0 (rounding allows" in ended.err


def test_json_of_the_newest_run(afdctl: Afdctl, folder: Path):
    result = json.loads(afdctl("export", "--weights", "torch", "--out", "w.pt", "--json").out)
    assert (result["schema"], result["run"], result["format"], result["file"]) == ("afdctl/1", "nt", "torch", "w.pt")
    assert (result["n"], result["max_difference"], result["differing"]) == (256, 0, 0)
    assert result["metadata"]["class_names"][9] == "9"
    assert (folder / "w.pt").is_file()


def test_a_folder_an_existing_file_and_a_link_as_output(afdctl: Afdctl, folder: Path):
    out = folder / "out"
    out.mkdir()
    command = ("export", "nt", "--weights", "torch", "--out")
    first = afdctl(*command, "out").out.strip()
    assert Path(first).parent == Path("out")
    (out / "old.pt").write_text("old")
    (out / "link.pt").symlink_to("old.pt")
    assert afdctl(*command, "out/link.pt").code == 0
    assert (out / "link.pt").is_symlink()
    (out / "dangling.pt").symlink_to("/nosuch/w.pt")
    assert "there is no folder /nosuch; make it first" in afdctl(*command, "out/dangling.pt").err
    assert (out / "old.pt").read_bytes() == (folder / first).read_bytes()


def test_robustbench_files_are_in_its_folders(afdctl: Afdctl, folder: Path):
    weights, code = afdctl("export", "nt", "--weights", "robustbench", "--out", "zoo").out.split()
    assert Path(weights).parent == Path("zoo/digits/Linf")
    assert Path(code) == Path("zoo") / f"{Path(weights).stem}.py"


def test_a_file_with_another_network_is_not_written(afdctl: Afdctl, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def tampered(model: ExportedModel) -> Files:
        with torch.no_grad():
            other = single_file.copy_state(model.network)
            other["C_phi.bias"] += 0.01
            network = single_file.build_with_state(model.metadata, other)
        return single_file.pack_torch(replace(model, network=network))

    monkeypatch.setattr(single_file, "TORCH", replace(single_file.TORCH, pack=tampered))
    before = sorted(folder.iterdir())
    ended = afdctl("export", "nt", "--weights", "torch", "--out", "tampered.pt")
    assert (ended.code, ended.out) == (1, "")
    assert "nothing written: read back, the logits of 256 test images differ by up to 0.01" in ended.err
    assert sorted(folder.iterdir()) == before


def test_a_missing_package_names_the_extra(afdctl: Afdctl, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("afdctl.cli.export.find_spec", lambda name: None)
    ended = afdctl("export", "nt", "--weights", "onnx")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: --weights onnx needs onnx and onnxscript and onnxruntime; install with `pip install 'afdctl[onnx]'`\n"
    )


def test_exactly_one_mode():
    def mode(options: ExportOptions, value: str) -> None: ...

    assert choose_mode({"--weights": (None, mode), "--table": ("1", mode)}) == (mode, "1")
    with pytest.raises(RecipeError, match="--weights and --table: one mode at a time"):
        choose_mode({"--weights": ("onnx", mode), "--table": ("1", mode), "--figure": (None, mode)})
    with pytest.raises(RecipeError, match=r"export what\? give one of --weights, --table"):
        choose_mode({"--weights": (None, mode), "--table": (None, mode)})


MISTAKES = {
    "export nt": (2, "export what? give one of --table, --figure, --weights"),
    "export nt --weights onx": (2, "--weights onx: no such format (did you mean 'onnx'?)"),
    "export nt --weights keras": (2, "known: safetensors, onnx, pt2, torch, robustbench"),
    "export nosuch --weights torch": (3, "nosuch: no such run under runs"),
    "export nt copy --weights torch --out w2.pt": (
        2,
        "--out w2.pt: one file for 2 runs; name a folder, such as files/",
    ),
    "export nt --weights onnx --out w.pt2": (2, "--out w.pt2: its suffix is that of pt2, but --weights says onnx"),
    "export nt --weights torch --out no/w.pt": (2, "there is no folder no; make it first"),
    "export nt --weights torch --out /dev/null": (2, "--out /dev/null: exists and is not a regular file"),
    "export nt --weights robustbench --out file": (2, "--out file/: is a file, not a folder; name a folder"),
    "export nt --weights torch --out file/ --checkpoint 7": (2, "--out file/: is a file, not a folder; name a folder"),
    "export nt --weights torch --device cuda": (2, "leave --device out"),
    "export nt --weights torch --checkpoint 7": (3, "run nt has no checkpoint '7'"),
}


@pytest.mark.parametrize(("command", "expected"), MISTAKES.items())
def test_a_mistake_is_one_line_and_a_code(afdctl: Afdctl, folder: Path, command: str, expected: tuple[int, str]):
    (folder / "file").write_text("mine")
    ended = afdctl(*command.split())
    code, message = expected
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert message in ended.err
    assert (folder / "file").read_text() == "mine"
