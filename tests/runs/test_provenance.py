"""Test what run.json records of the process and of the code."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from afdctl import __version__
from afdctl.runs import provenance
from afdctl.runs.provenance import environment, source_commit


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_environment_of_a_cpu_run():
    facts = environment(torch.device("cpu"))
    assert (facts["afdctl"], facts["torch"], facts["cuda"], facts["device"]) == (
        __version__,
        torch.__version__,
        None,
        "cpu",
    )
    assert facts["threads"] == torch.get_num_threads()


def test_the_commit_is_that_of_the_checkout_and_marks_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = tmp_path / "afdctl/runs/provenance.py"
    code.parent.mkdir(parents=True)
    code.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert source_commit() is None
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit = source_commit()
    assert commit == git(tmp_path, "rev-parse", "HEAD").strip()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    code.write_text("changed")
    assert source_commit() == f"{commit}-dirty"
