"""The journal of a resumed run reads like that of a run that was never stopped."""

import pytest

from afdctl.journal import drop_superseded


def event(name: str, step: int, epoch: int = 0, **fields: object) -> dict[str, object]:
    return {"event": name, "step": step, "epoch": epoch, **fields}


RUN = {"event": "run", "schema": 3}


def train(first: int, last: int) -> list[dict[str, object]]:
    """The rows of steps `first` to `last`, two steps an epoch."""
    rows = []
    for step in range(first, last + 1):
        rows.append(event("step", step, (step + 1) // 2))
        if step % 2 == 0:
            rows += [
                event("epoch", step, step // 2),
                event("checkpoint", step, step // 2, digest=f"of {step}", best=True),
            ]
    return rows


FINISH = [event("test", 6, checkpoint="last"), event("test", 4, checkpoint="best"), event("end", 6, reason="finished")]


@pytest.mark.parametrize(
    "interrupted",
    [
        pytest.param([*train(1, 6)], id="never"),
        pytest.param([*train(1, 5), event("resume", 4, 2), *train(5, 6)], id="mid-epoch"),
        pytest.param([*train(1, 3), event("warning", 3), event("resume", 0, 0), *train(1, 6)], id="from the start"),
        pytest.param([*train(1, 5), event("resume", 4, 2), event("resume", 2, 1), *train(3, 6)], id="two in a row"),
        pytest.param(
            [*train(1, 5), event("resume", 2, 1), *train(3, 6), event("resume", 4, 2), *train(5, 6)], id="two in turn"
        ),
        pytest.param([*train(1, 4), event("end", 4), event("resume", 4, 2), *train(5, 6)], id="stopped"),
        pytest.param([*train(1, 6), *FINISH[:2], event("resume", 6, 3)], id="killed in the test"),
        pytest.param(
            [*train(1, 4)[:-2], event("epoch", 4, 2), event("resume", 4, 1), *train(4, 4)[1:], *train(5, 6)],
            id="saved before the validation",
        ),
    ],
)
def test_a_resumed_run_reads_like_one_that_was_never_stopped(interrupted: list[dict[str, object]]) -> None:
    assert drop_superseded([RUN, *interrupted, *FINISH]) == [RUN, *train(1, 6), *FINISH]


def test_results_of_a_superseded_checkpoint_are_superseded() -> None:
    cells = [
        {"event": kind, "checkpoint": f"of {step}"} for kind in ("cell", "analysis", "features") for step in (2, 4)
    ]
    resumed = [RUN, *train(1, 4), *cells, event("resume", 2, 1)]
    assert drop_superseded(resumed) == [RUN, *train(1, 2), *cells[::2]]
    # made again, the same file as before
    assert drop_superseded([*resumed, *train(3, 4)]) == [RUN, *train(1, 2), *cells, *train(3, 4)]
