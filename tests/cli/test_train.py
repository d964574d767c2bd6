"""Test `afdctl train` from the command line: its output, its end and its files."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch

from afdctl.runs import checkpoints
from afdctl.runs.run import Run
from tests.cli.conftest import Afdctl, Ended
from tests.cli.trainings import SLOW, begin, end, events, options
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def begun(folder: Path) -> list[subprocess.Popen[str]]:
    """They run together, as importing torch is most of what they do."""
    seeds = begin(folder, "digits_nt", "--seeds", "0,1", *options(SHORT))
    return [seeds, begin(folder, "digits_nt", "--name", "json", "--json", *options(SHORT))]


@pytest.fixture(scope="module")
def seeds(begun: list[subprocess.Popen[str]]) -> Ended:
    """Two finished runs, of the seeds 0 and 1."""
    return end(begun[0])


@pytest.fixture(scope="module")
def streamed(begun: list[subprocess.Popen[str]]) -> Ended:
    """A finished run that was never stopped."""
    return end(begun[1])


def test_stdout_holds_a_path_for_each_seed_and_nothing_else(seeds: Ended, folder: Path):
    assert (seeds.code, seeds.out) == (0, "runs/digits_nt-001\nruns/digits_nt-002\n")
    assert [Run(folder / path).provenance["seed"] for path in seeds.out.split()] == [0, 1]


def test_without_a_terminal_stderr_has_a_line_an_epoch(seeds: Ended):
    assert "\x1b" not in seeds.err
    beginnings = ["digits_nt-001: ", "10 classes: ", "epoch 1/2  ", "epoch 2/2  ", "test, best"]
    # on a slow machine steps are reported too
    lines = [line for line in seeds.err.splitlines() if not re.match("test, last|epoch .*  step ", line)]
    assert [line[: len(start)] for line, start in zip(lines, beginnings * 2, strict=True)] == [
        *beginnings,
        "digits_nt-002: ",
        *beginnings[1:],
    ]


def test_a_pgd_accuracy_is_marked_as_no_autoattack(seeds: Ended):
    lines = [line for line in seeds.err.splitlines() if "PGD" in line]
    assert len(lines) >= 6
    assert [line for line in lines if "(no AutoAttack)" not in line] == []


def test_json_is_the_journal(streamed: Ended, folder: Path):
    assert (streamed.code, streamed.err) == (0, "")
    journal = (folder / "runs/json/events.ndjson").read_text().splitlines()
    assert streamed.out.splitlines() == [line.rpartition(',"crc":')[0] + "}" for line in journal]
    rows = [json.loads(line) for line in streamed.out.splitlines()]
    assert [rows[0]["event"], rows[-1]["event"], rows[-1]["reason"]] == ["run", "end", "finished"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(folder: Path, here: Afdctl):
    assert here("--name", "whole", *SLOW).code == 0
    process, killed = begin(folder, "--name", "killed", "--json", *SLOW), Run(folder / "runs/killed")
    assert process.stdout
    next(line for line in process.stdout if '"event":"step"' in line and '"step":25,' in line)
    process.kill()
    process.communicate()
    assert here("--resume", "killed").code == 0

    assert [row["step"] for row in events(killed, "resume")] == [20], "it died in the middle of the second epoch"
    one, other = (checkpoints.load(run) for run in (killed, Run(folder / "runs/whole")))
    assert one.step == other.step == 40
    weights, expected = (loaded.state["defense"]["network"] for loaded in (one, other))
    assert weights.keys() == expected.keys()
    different = [name for name in weights if torch.is_tensor(weights[name]) and not weights[name].equal(expected[name])]
    assert different == []


def test_a_finished_run_says_so_and_stays(seeds: Ended, folder: Path, here: Afdctl):
    journal = folder / "runs/digits_nt-001/events.ndjson"
    before = journal.read_bytes()
    assert here("--resume", "digits_nt-001") == (
        0,
        "runs/digits_nt-001\n",
        "runs/digits_nt-001: already finished; nothing to resume\n",
    )
    assert journal.read_bytes() == before
