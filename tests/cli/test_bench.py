"""`afdctl bench` as a user calls it."""

import json
from itertools import chain
from pathlib import Path

from afdctl.cli.bench import format_compilation, format_share
from tests.cli.conftest import Afdctl
from tests.conftest import SHORT

SMALL = [*chain.from_iterable(("--set", value) for value in SHORT), "--rounds", "2"]


def test_json_is_one_object_and_the_trace_is_a_separate_file(afdctl: Afdctl, tmp_path: Path):
    trace = tmp_path / "trace.json"
    ended = afdctl("bench", "digits_wgan", *SMALL, "--json", "--profile", str(trace))
    assert ended.code == 0
    report = json.loads(ended.out)
    assert report["schema"] == "afdctl/1"
    (row,) = report["steps"]
    assert row["attack_steps"] == 2, "the recipe's own"
    assert {"afd_seconds", "afd_over_at", "afd_over_trades", "journal_share"} <= row.keys()
    assert report["eta"]["epochs"] == 2
    assert trace.stat().st_size > 0
    assert "aten::convolution" in ended.err
    assert str(trace) in ended.err


def test_the_tables_name_every_phase(afdctl: Afdctl):
    out = afdctl("bench", "digits_wgan", *SMALL).out
    for word in (
        "attack",
        "optimizer",
        "journal",
        "model FLOP utilisation",
        "AFD / AT",
        "AFD / TRADES",
        "FLOP/s of the step",
        "all 2 epochs",
        "OMP_NUM_THREADS",
    ):
        assert word in out, word


def test_a_share_that_a_busy_machine_hides_is_no_percentage():
    assert format_share(0.5) == "50.0%"
    assert format_share(None) == "unknown: machine busy, run again"


def test_a_trace_that_could_not_be_written_is_refused_before_any_work(afdctl: Afdctl):
    ended = afdctl("bench", "digits_wgan", "--profile", "nosuch/trace.json")
    assert ended.code == 2
    assert "--profile nosuch/trace.json: there is no folder nosuch; make it first" in ended.err


def test_the_rule_of_compilation_is_printed():
    row = {"start_up_seconds": 150.0, "compiled_over_eager": (0.9, 0.88, 0.93), "pays_after_steps": 3000}
    line = "torch.compile: 02:30 before the first step, then 0.900 (0.880 to 0.930) of an eager step's time."
    assert (
        format_compilation(row, {"epochs": 5, "steps_per_epoch": 430}) == f"{line} It pays after 3,000 steps of 2,150."
    )
    assert format_compilation(row, None) == f"{line} It pays after 3,000 steps."
    never = row | {"pays_after_steps": None}
    assert format_compilation(never, None) == f"{line} It does not pay: set train.compile = false."
