"""Test the progress output of a training, on a terminal and without one."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import afdctl
from afdctl.cli.evaluation_progress import AnalysisProgress, EvaluationProgress
from afdctl.cli.progress import TrainingProgress, training_progress
from afdctl.cli.progress_reporter import BarReporter, ProgressReporter
from afdctl.runs.alarms import alarm_row
from afdctl.runs.run import Run
from tests.conftest import SHORT

RECIPE = {"defense": {"name": "afd", "game": "wgan"}, "attack": {"steps": 10}, "data": {"dataset": "digits"}}
RUN = {
    "event": "run",
    "name": "digits[red]-001",
    "recipe": RECIPE,
    "parameters": 31050,
    "device": "cpu",
    "epochs": 60,
    "steps_per_epoch": 10,
    "steps_total": 600,
    "classes": 10,
    "images": {"train": 1237, "holdout": 200, "test": 360},
}
STEP = {
    "event": "step",
    "step": 40,
    "epoch": 4,
    "L_C": 2.3,
    "L_D": -0.0004,
    "L_F": -0.011,
    "alpha_h": 1.0,
    "grad_C": 0.1,
    "d_accuracy": 0.5,
    "d_hdh_calibrated": 0.143,
    "images_per_s": 2490.4,
}
EPOCH = {"event": "epoch", "epoch": 4, "step": 40, "acc_nat": 0.98, "acc_adv": 0.695, "best": True, "seconds": 1.0}
LAST = {
    "event": "test",
    "step": 600,
    "checkpoint": "last",
    "checkpoint_step": 600,
    "attack": "PGD-40 linf 0.15",
    "n": 360,
    "acc_nat": 0.986,
    "acc_adv": 0.644,
}
BEST = LAST | {"checkpoint": "best", "checkpoint_step": 500, "acc_nat": 0.981, "acc_adv": 0.628}
FIGURES = ["L_C  2.300", "L_D -0.000", "L_F -0.011", "D acc  50%", "d_HΔH 0.143", "2,490 images/s"]
OPENING = (
    "digits[red]-001: AFD-WGAN on digits, 31,050 parameters, 60 epochs of 10 steps on cpu\n"
    "10 classes: 1,237 images to train on, 200 held out, 360 to test"
)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(*rows: dict[str, Any]) -> list[str]:
    printed: list[str] = []
    progress = TrainingProgress(ProgressReporter(printed.append))
    for row in rows:
        progress.on_line(json.dumps(row))
    return printed


def drawn(width: int, *rows: dict[str, Any]) -> list[str]:
    """Return the bar and the lines below it as a terminal of this width shows them after these rows."""
    with BarReporter(Console(file=Terminal(), width=width, force_terminal=True)) as bar:
        progress = TrainingProgress(bar)
        for row in rows:
            progress.on_line(json.dumps(row))
        page = Console(file=io.StringIO(), width=width)
        page.print(bar.render())
    return [line.rstrip() for line in page.file.getvalue().splitlines()]


def test_without_a_terminal_an_epoch_is_one_line():
    assert lines(RUN, STEP, EPOCH) == [
        OPENING,
        "  ".join(["epoch  4/60", *FIGURES[:5], "  2,490 images/s"])
        + "  validation: clean  98.0%, APGD-CE  69.5% (no AutoAttack)  best",
    ]


def test_a_long_epoch_also_has_lines_of_its_steps(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 5.0, 11.0, 11.0, 12.0, 25.0, 25.0])
    monkeypatch.setattr("afdctl.cli.progress.time.monotonic", lambda: next(clock))
    printed = lines(
        RUN, STEP | {"t": 0.0}, STEP | {"step": 44, "t": 8.0}, STEP | {"step": 45}, STEP | {"step": 50, "t": 20.0}
    )
    assert [line.split("  L_C")[0] for line in printed[1:]] == [
        "epoch  4/60  step  44/600",
        "epoch  4/60  step  50/600",
    ]
    assert [line.rpartition("  ")[2] for line in printed[1:]] == ["eta 0:18:32", "eta 0:18:20"]


def test_the_remaining_time_counts_that_later_steps_are_slower(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 5.0, 11.0, 11.0])
    monkeypatch.setattr("afdctl.cli.progress.time.monotonic", lambda: next(clock))
    (printed,) = lines(RUN, STEP | {"t": 0.0, "progress": 0.01}, STEP | {"step": 44, "t": 8.0, "progress": 0.02})[1:]
    # 1 % took 8 seconds
    assert printed.endswith("eta 0:13:04")


def test_without_a_hold_out_there_is_no_validation():
    assert lines(RUN, {"event": "epoch", "epoch": 60, "step": 600, "best": True})[1:] == ["epoch 60/60"]


def test_a_nan_loss_is_reported():
    assert "L_C    nan" in lines(RUN, STEP | {"L_C": None}, EPOCH)[1]


@pytest.mark.parametrize("row", [{"event": "checkpoint"}, {"event": "end", "reason": "finished"}])
def test_events_for_programs_are_not_printed(row: dict[str, Any]):
    assert lines(RUN, row) == [OPENING]


def test_one_epoch_is_not_plural():
    assert "1 epoch of 430 steps on cpu" in lines(RUN | {"epochs": 1, "steps_per_epoch": 430})[0]


def test_a_warning_is_printed():
    assert lines({"event": "warning", "step": 3, "message": "damaged"}) == ["warning: damaged"]


def test_an_alarm_is_printed_with_what_to_do():
    (line,) = lines(alarm_row("unchanged_images", 40, 0.5, 0.2))
    assert line.startswith("alarm: weak adversary: 50.0 % of x' equal x (threshold 20 %); set attack.return_iterate")


def test_a_resumed_run_says_from_where():
    row = {"event": "resume", "step": 30, "epoch": 3, "epochs": 60, "steps_per_epoch": 10, "steps_total": 600}
    assert lines(row) == ["resuming at step 30 of 600"]
    assert "30/600" in drawn(80, row)[0]


def test_the_results_of_two_checkpoints_are_two_lines_the_best_first():
    assert lines(LAST, BEST) == [
        "test, best checkpoint (step 500): clean 98.1%, PGD-40 linf 0.15 62.8% (no AutoAttack), 360 images\n"
        "test, last checkpoint (step 600): clean 98.6%, PGD-40 linf 0.15 64.4% (no AutoAttack), 360 images"
    ]


def test_the_results_of_one_checkpoint_are_one_line():
    assert lines(LAST, LAST | {"checkpoint": "best"}) == [
        "test, best and last checkpoint (step 600): clean 98.6%, PGD-40 linf 0.15 64.4% (no AutoAttack), 360 images"
    ]


def test_the_opening_says_when_the_probe_runs_and_at_what_cost():
    validation = {"limit": 500, "targets": 3, "square_queries": 300}
    recipe = RUN["recipe"] | {"train": {"checkpoint_selection": "probe"}, "validation": validation}
    (opening,) = lines(RUN | {"recipe": recipe, "validation": {"interval": 2, "share": 0.0258}})
    assert opening.splitlines()[-1] == (
        "probe after every 2 epochs: APGD-CE, APGD-T on 3 targets, 300-query Square, on 200 held-out images; "
        "at most 2.6% of the training"
    )


def test_the_opening_counts_extra_images():
    recipe = RUN["recipe"] | {"data": {"dataset": "cifar10", "extra_share": 0.7}}
    (opening,) = lines(RUN | {"recipe": recipe, "images": RUN["images"] | {"extra": 1_000_000}})
    assert "1,237 images to train on with 70% of each batch from 1,000,000 others, 200 held out" in opening


def test_the_probe_follows_its_first_attack():
    _, printed = lines(RUN, EPOCH | {"acc_probe": 0.5, "n": 200})
    assert "clean  98.0%, APGD-CE  69.5%, probe 50.0% (no AutoAttack), 200 images  best" in printed


def test_what_square_left_follows_what_pgd_left():
    (printed,) = lines(LAST | {"acc_square": 0.5}, BEST | {"acc_square": 0.6})
    assert "PGD-40 linf 0.15 62.8%, then Square 60.0% (no AutoAttack)" in printed.splitlines()[0]


def test_few_queries_of_square_are_said_to_be_too_few():
    """100 queries left PGD's accuracy as it was where AutoAttack took a third of it."""
    (few,) = lines(LAST | {"acc_square": 0.6, "square_queries": 100}, BEST)
    assert "then Square 60.0% (100 queries, too few) (no AutoAttack), 360 images" in few
    (enough,) = lines(LAST | {"acc_square": 0.6, "square_queries": 500}, BEST)
    assert "then Square 60.0% (500 queries) (no AutoAttack)" in enough


@pytest.mark.parametrize(("width", "height"), [(120, 3), (80, 3), (40, 6)])
def test_the_bar_shows_everything_at_any_width(width: int, height: int):
    shown = drawn(width, RUN, STEP, EPOCH)
    assert len(shown) == height
    assert max(map(len, shown)) <= width
    assert re.fullmatch(r"epoch  4/60 [━╸╺]+ *40/600  eta -:--:--", shown[0])
    text = " ".join(shown)
    assert [figure for figure in FIGURES if figure not in text] == []
    assert "validation: clean  98.0%, APGD-CE  69.5% (no AutoAttack)  best" in text


def test_figures_keep_their_places_when_they_change():
    later = {"L_C": 10.25, "L_D": 0.5, "d_accuracy": 1.0, "d_hdh_calibrated": 2.0, "images_per_s": 12345.6}
    before, after = (drawn(120, RUN, step)[1] for step in (STEP, STEP | later))
    assert [before.index(name) for name in ("L_D", "D acc", "d_H", "images")] == [
        after.index(name) for name in ("L_D", "D acc", "d_H", "images")
    ]


def test_after_the_last_epoch_the_bar_says_that_it_tests():
    assert drawn(80, RUN, STEP, EPOCH | {"epoch": 60})[0].startswith("testing ")


@pytest.mark.parametrize(
    ("precisions", "device"),
    [
        ({}, "cpu\n"),
        ({"precisions": {"attack": "float32", "train": "float32"}}, "cpu\n"),
        (
            {
                "precisions": {"attack": "float32", "train": "float32"},
                "recipe": RECIPE | {"attack": RECIPE["attack"] | {"precision": "auto"}},
            },
            "cpu, float32\n",
        ),
        ({"precisions": {"attack": "bf16", "train": "float32"}}, "cpu, attack bf16, training float32\n"),
        ({"precisions": {"attack": "bf16", "train": "bf16"}}, "cpu, bf16\n"),
    ],
)
def test_the_opening_names_a_lower_precision(precisions: dict[str, Any], device: str):
    (opening,) = lines(RUN | precisions)
    assert f" steps on {device}" in opening


def test_the_bar_leaves_the_opening_and_the_results():
    stream = Terminal()
    with BarReporter(Console(file=stream, width=120, force_terminal=True, markup=False, highlight=False)) as bar:
        progress = TrainingProgress(bar)
        for row in (RUN, STEP, EPOCH, LAST, BEST):
            progress.on_line(json.dumps(row))
    printed = [line for line in ESCAPE.sub("", stream.getvalue()).replace("\r", "").splitlines() if line]
    assert printed[:2] == OPENING.splitlines()
    results = "\n".join(lines(LAST, BEST))
    assert results in "\n".join(printed)
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l"), "the cursor is back"


@pytest.mark.parametrize(
    ("stream", "variables", "bar"),
    [
        (Terminal, {"TERM": "xterm"}, True),
        (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, True),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {"TERM": "xterm"}, False),
        (io.StringIO, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
    ],
)
def test_only_a_terminal_gets_escape_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], variables: dict[str, str], bar: bool
):
    monkeypatch.setattr(sys, "stderr", stream())
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with training_progress(Run(tmp_path), as_json=False) as on_line:
        on_line(json.dumps(RUN))
    assert ("\x1b" in sys.stderr.getvalue()) == bar
    assert OPENING.split(":")[0] in sys.stderr.getvalue()


def test_a_real_training_on_a_terminal_draws_on_stderr_and_puts_the_path_on_stdout(tmp_path: Path):
    ours, theirs = pty.openpty()
    arguments = ["train", "digits_nt", "--no-tui", *(word for value in SHORT for word in ("--set", value))]
    environment = os.environ | {"PYTHONPATH": str(Path(afdctl.__file__).parents[1]), "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-m", "afdctl", *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=tmp_path,
        env=environment,
        text=True,
    )
    os.close(theirs)
    screen = b""
    try:
        while part := os.read(ours, 1 << 16):
            screen += part
    except OSError:
        # Linux tells so that the other end is closed
        pass
    os.close(ours)
    assert (process.communicate()[0], process.returncode) == ("runs/digits_nt-001\n", 0)
    text = screen.decode()
    assert "━" in text
    assert max(map(len, ESCAPE.sub("", text).replace("\r", "\n").splitlines())) <= 80
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "Traceback" not in text


CELL = {"event": "cell", "run": "at", "attack": "fgsm", "source": None, "acc_nat": 0.98, "last": 0.2, "seconds": 1.0}
CELLS = [CELL | {"epsilon": 0.1, "accuracy": 0.9}, CELL | {"epsilon": 0.2, "accuracy": 0.5}]
PROGRESS_ROW = {
    "event": "sweep_progress",
    "run": "at",
    "attack": "fgsm",
    "source": None,
    "done": 30,
    "n": 60,
    "accuracy": {"0.1": 0.9},
    "seconds": 1.0,
}


def test_a_sweep_has_a_line_per_attack_and_its_warnings():
    printed: list[str] = []
    progress = EvaluationProgress(ProgressReporter(printed.append), {("fgsm", "at"): 4.0})
    for row in (
        PROGRESS_ROW,
        {"event": "warning", "message": "the memory is full"},
        *CELLS,
        CELLS[0] | {"source": "nt"},
    ):
        progress.on_row(row)
    assert printed == ["warning: the memory is full", "at  fgsm  0: 98.0%  0.1: 90.0%  0.2: 50.0%  (2.0 s)"]


def test_a_long_attack_has_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch):
    """AutoAttack was silent for minutes; a short attack has its result only."""
    monkeypatch.setattr("afdctl.cli.evaluation_progress.LOG_SECONDS", 0.0)
    printed: list[str] = []
    progress = EvaluationProgress(ProgressReporter(printed.append), {("fgsm", "at"): 840.0})
    progress.on_row(PROGRESS_ROW | {"done": 0, "accuracy": {}, "seconds": 35.0, "passes": 1812})
    progress.on_row(PROGRESS_ROW | {"seconds": 900.0})
    monkeypatch.setattr("afdctl.cli.evaluation_progress.LOG_SECONDS", 60.0)
    progress = EvaluationProgress(ProgressReporter(printed.append), {})
    progress.on_row(PROGRESS_ROW | {"seconds": 1.0})
    assert printed == [
        "at  fgsm  0/60  (next batch: 1,812 passes, 35 s of up to about 14 min)",
        "at  fgsm  30/60  0.1: 90.0%  (15 min)",
    ]


def test_a_sweeps_bar_is_weighed_by_the_seconds_of_its_attacks():
    with BarReporter(Console(file=Terminal(), width=100, force_terminal=True)) as bar:
        EvaluationProgress(bar, {("fgsm", "at"): 1.0, ("aa", "at"): 9.0}).on_row(PROGRESS_ROW)
        page = Console(file=io.StringIO(), width=100)
        page.print(bar.render())
    assert re.match(r"at  fgsm  30/60  0\.1: 90\.0% [━╸╺]+ +5 %  eta", page.file.getvalue())


def test_a_sweeps_bar_moves_within_a_batch():
    """AutoAttack on 360 digits is one batch of minutes: the bar went from 0 % to 100 %."""
    row = PROGRESS_ROW | {"done": 0, "accuracy": {}}
    with BarReporter(Console(file=Terminal(), width=80, force_terminal=True)) as bar:
        progress = EvaluationProgress(bar, {("fgsm", "at"): 900.0})
        progress.on_row(row | {"seconds": 0.0, "passes": 1})
        progress.on_row(row | {"seconds": 180.0, "passes": 4626})
        page = Console(file=io.StringIO(), width=80)
        page.print(bar.render())
        moved = [bar.progress.tasks[0].percentage]
        # half of the images after 200 s; then the next batch takes longer than was estimated
        for done, seconds in ((30, 200.0), (30, 290.0), (30, 2000.0), (60, 2000.0)):
            progress.on_row(row | {"done": done, "seconds": seconds, "passes": 9})
            moved.append(bar.progress.tasks[0].percentage)
    first, second = page.file.getvalue().splitlines()
    assert re.match(r"at  fgsm  0/60 [━╸╺]+ +20 %  eta", first)
    assert second.rstrip() == "next batch: 4,626 passes, 3 min of up to about 15 min"
    assert moved == pytest.approx([20, 50, 60, 100, 100])


def test_an_analysis_logs_its_attacks_and_analyses():
    source = SimpleNamespace(name="at")
    task: Any = SimpleNamespace(source=source, spec=SimpleNamespace(title="fgsm"), n=60, epsilons=(0.1,), block_key="k")
    printed: list[str] = []
    progress = AnalysisProgress(ProgressReporter(printed.append), {"k": 4.0})
    progress.on_images(task, 40)
    assert printed == []
    progress.on_images(task, 20)
    progress.on_analysis("pca")
    assert re.fullmatch(r"at  fgsm 0\.1  \(\d\.\d s\)", printed[0])
    assert printed[1:] == ["analysing: pca"]
    assert progress.completed == pytest.approx(4.0)
