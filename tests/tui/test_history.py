"""Test the state of a run, from normal and from unusual journals."""

import pytest

from afdctl.tui.state.follower import QUIET_SECONDS, state
from afdctl.tui.state.history import History
from tests.tui import journals
from tests.tui.journals import BEGIN, PER_EPOCH, checkpoint, epoch, history, lines, step, training

RESUME = {
    "event": "resume",
    "t": BEGIN + 9999,
    "step": 100,
    "epoch": 2,
    "epochs": 20,
    "steps_per_epoch": PER_EPOCH,
    "steps_total": 1000,
}
STOP = {"event": "end", "t": BEGIN + 40, "step": 130, "reason": "stopped", "exit_code": 143, "message": "stopped"}


def test_a_whole_training():
    known = history(training())
    assert (known.step, known.epoch, known.steps_total) == (1000, 20, 1000)
    assert known.series.length == 1000
    assert len(known.epochs) == 20
    assert known.validations.steps().tolist() == list(range(1, 21))
    assert set(known.tests) == {"best", "last"}
    assert known.rates.seconds_left == 0


def test_rows_in_any_portions_give_the_same():
    rows = lines(training())
    one, other = history(training()), History()
    for first in range(0, len(rows), 13):
        other.extend(rows[first : first + 13])
    assert other.series.mean("L_C").tolist() == one.series.mean("L_C").tolist()
    assert other.series.offsets[:1000].tolist() == one.series.offsets[:1000].tolist()
    assert (other.elapsed, other.entries) == (one.elapsed, one.entries)


def test_a_resumed_run_drops_repeated_steps_and_the_pause():
    again = [step(n, L_C=7.0, t=BEGIN + 9999 + n - 100) for n in range(101, 111)]
    known = history([*training(130), STOP, RESUME, *again])
    assert known.step == 110
    assert known.series.last_step == 110
    assert known.series.mean("L_C")[100:].tolist() == [7.0] * 10
    assert [row["epoch"] for row in known.epochs] == [1, 2]
    assert known.validations.length == 2
    assert known.end is None
    assert known.elapsed == pytest.approx(BEGIN + 40 - BEGIN + 10)


def test_a_clock_that_jumps_back_takes_no_time_back():
    rows = training(200)
    for row in rows[100:]:
        row["t"] -= 86400
    known = history(rows)
    whole = history(training(200)).elapsed
    assert 0.9 * whole < known.elapsed <= whole
    times = known.series.mean("elapsed")
    assert (times[1:] >= times[:-1]).all()


def test_the_speed_counts_the_validations():
    known = history(training(620))
    assert known.rates.steps_per_second == pytest.approx(8, rel=0.1)
    assert known.rates.seconds_left == pytest.approx(380 / known.rates.steps_per_second)


def test_a_row_that_cannot_be_read_is_reported_and_skipped():
    strange = [
        {"event": "step"},
        {"event": "epoch", "epoch": "x"},
        {"event": "cell"},
        {"event": "test"},
        {"event": "new"},
    ]
    known = history([*training(60), *strange, step(61)])
    assert known.step == 61
    assert sum("cannot read" in entry.text for entry in known.entries) == 4


def test_nan_values_are_counted():
    known = history([*training(60), step(61, L_C=None, grad_C=None)])
    assert known.not_finite == 2


def test_the_log_has_all_events():
    known = history([*training(), {"event": "warning", "message": "damaged"}])
    log = [(entry.kind, entry.text) for entry in known.entries]
    assert log[0] == ("start", "mnist_wgan-001 on cuda:0; 262,896 parameters")
    assert ("epoch", "1: clean 39.0%, APGD-CE 10.0%, no AutoAttack, the best so far") in log
    assert ("checkpoint", "step 50, the best so far  step-00000050-0123456789abcdef.pt") in log
    assert log[-2] == ("end", "finished at step 1,000, exit code 0")
    assert log[-1] == ("warn", "damaged")


def test_without_a_hold_out_an_epoch_is_just_done():
    known = history([dict(journals.RUN), step(1), {"event": "epoch", "epoch": 1, "step": 1, "best": True}])
    assert known.entries[-1].text == "1 done"
    assert known.validations.length == 0


END = {"event": "end", "t": BEGIN, "step": 5, "exit_code": 1}


@pytest.mark.parametrize(
    ("rows", "pid", "quiet", "word", "over"),
    [
        ([], 7, 0, "starting", False),
        ([], None, 0, "not started", True),
        (training(100), 7, 0, "training", False),
        (training(100), 7, QUIET_SECONDS + 12, "quiet 00:42", False),
        (training(100), None, 0, "crashed", True),
        (training()[:-3], 7, 0, "testing", False),
        (training()[:-3], 7, 999, "testing", False),
        ([*training(20), step(21, t=BEGIN + 500)], 7, 500, "training", False),
        (training(), None, 0, "finished", True),
        ([*training(100), STOP], None, 0, "stopped", True),
        ([*training(100), END | {"reason": "diverged"}], None, 0, "diverged", True),
        ([*training(100), END | {"reason": "failed"}], None, 0, "failed", True),
        ([*training(130), STOP, RESUME], 7, 0, "training", False),
        ([*training(130), STOP, RESUME], None, 0, "crashed", True),
        ([*training(), *journals.sweep(9)], 7, 0, "sweeping", False),
        ([*training(), *journals.sweep(9)], None, 0, "sweep crashed", True),
        ([*training(), *journals.sweep(16)], None, 0, "swept", True),
        ([dict(journals.RUN, schema=99)], None, 0, "other version", True),
        ([dict(journals.RUN, schema=2)], None, 0, "other version", True),
        ([*training(), {"event": "features", "t": BEGIN}], 7, 0, "analyzing", False),
        ([*training(), {"event": "analysis", "t": BEGIN}], None, 0, "finished", True),
    ],
)
def test_the_state_comes_from_the_last_rows_and_the_lock(
    rows: list, pid: int | None, quiet: float, word: str, over: bool
):
    found = state(history(rows), pid is not None, quiet=quiet)
    assert (found.word, found.over) == (word, over)


def test_a_folder_that_is_gone_is_deleted():
    assert state(history(training(10)), False, gone="deleted").word == "deleted"


def test_a_checkpoint_is_no_step():
    assert history([dict(journals.RUN), checkpoint(0), epoch(1)]).step == 0


def curves(known: History) -> dict[str, list[float | None]]:
    return {attack: [cell.accuracy for cell in cells.values()] for (attack, _), cells in known.sweep.cells.items()}


def test_attacks_before_a_resume_stay_with_their_checkpoint():
    """As in results.h5: a checkpoint that the resume supersedes takes its results along."""
    before = [*training(120), STOP]
    swept = journals.sweep(16)
    digest = {"digest": "1" * 64}
    old, new = checkpoint(100) | digest, checkpoint(120) | {"digest": "2" * 64}
    for measured, step_again, left in (("1", 100, 4), ("2", 100, 0), ("2", 120, 4)):
        of = [row | {"checkpoint": measured * 64} if row["event"] == "cell" else row for row in swept]
        known = history([*before, old, new, *of, RESUME | {"step": step_again}, step(step_again + 1)])
        assert len(known.sweep.cells) == left
        assert not known.sweep.plan
        assert state(known, True).word == "training"


def test_after_a_sweep_the_results_that_count_are_shown():
    """A quick look is shown while it runs; after its end the full sweep is shown again."""
    full, quick = journals.sweep(16), journals.sweep(16)
    quick = [
        row | {"key": f"few {row['key']}", "n": 10, "accuracy": 0.5} if row["event"] == "cell" else row for row in quick
    ]
    quick[0]["cells"] = [cell | {"key": f"few {cell['key']}"} for cell in quick[0]["cells"]]
    quick[0]["n"] = 10
    at_work, ended = (history([*training(), *full, *quick[:end]]) for end in (-1, None))
    assert set(curves(at_work)["fgsm"]) == {0.5}
    assert [row["n"] for row in at_work.sweep.images] == [10]
    assert curves(ended) == curves(history([*training(), *full]))
    assert {row["n"] for row in ended.sweep.images} == {1000}


def test_a_stopped_sweep_still_has_what_it_lacks():
    known = history([*training(), *journals.sweep(9), {"event": "sweep_end", "t": BEGIN, "reason": "stopped"}])
    assert (known.sweep.finished, known.sweep.planned) == (9, 16)
