"""Test which of several results counts: more images, then the suite's own settings, then newer."""

from typing import Any

import pytest

from afdctl.runs.selection import (
    also_measured,
    checkpoint_name,
    describe_checkpoint_shown,
    not_selected,
    rows_to_rewrite,
    selected_analyses,
    selected_clean,
    selected_curves,
    selected_test,
)

Row = dict[str, Any]
BEST, LAST, OLD = "b" * 64, "c" * 64, "a" * 64


def saved(digest: str, best: bool) -> Row:
    return {"event": "checkpoint", "digest": digest, "best": best}


CHECKPOINTS = [saved(OLD, True), saved(BEST, True), saved(LAST, False)]


def cell(epsilon: float = 0.1, **changes: Any) -> Row:
    row = {
        "event": "cell",
        "attack": "pgd",
        "source": None,
        "epsilon": epsilon,
        "spec": {"steps": 40},
        "seed": 0,
        "checkpoint": BEST,
        "schedule": "ascending",
        "precision": "float32",
        "n": 360,
        "changed": [],
        "acc_nat": 0.9,
    } | changes
    return row | {"key": repr(sorted(row.items(), key=str))}


def curve(*epsilons: float, **changes: Any) -> list[Row]:
    return [cell(epsilon, **changes) for epsilon in epsilons]


def cells_of_curves(rows: list[Row]) -> dict[tuple[str, str | None], list[Row]]:
    return {key: list(curve.cells) for key, curve in selected_curves(rows).items()}


FULL = curve(0.1, 0.2)
WEAKER = {
    "fewer images": {"n": 10},
    "changed settings": {"spec": {"steps": 1}, "changed": ["steps"]},
    "in bf16": {"precision": "bf16"},
    "another grid": {"seed": 1, "changed": ["epsilons"]},
}


@pytest.mark.parametrize("changes", WEAKER.values(), ids=WEAKER)
def test_a_weaker_result_never_takes_the_place_of_a_fuller_one(changes: Row):
    weaker = curve(0.1, **changes)
    for rows in ([*FULL, *weaker], [*weaker, *FULL]):
        rows = [*CHECKPOINTS, *rows]
        assert cells_of_curves(rows) == {("pgd", None): FULL}
        assert not_selected(rows, weaker) == weaker
        assert rows_to_rewrite(rows, weaker) == []
    assert cells_of_curves([*CHECKPOINTS, *weaker]) == {("pgd", None): weaker}


EQUAL = {"another suite": {"spec": {"steps": 100}}, "another seed": {"seed": 1}}


@pytest.mark.parametrize("changes", EQUAL.values(), ids=EQUAL)
def test_of_equal_results_the_newer_counts_and_the_older_returns_by_being_written_again(changes: Row):
    other = curve(0.1, 0.2, **changes)
    rows = [*CHECKPOINTS, *FULL, *other]
    assert cells_of_curves(rows) == {("pgd", None): other}
    again = rows_to_rewrite(rows, [row | {"t": 1.0} for row in FULL])
    assert again == FULL
    assert cells_of_curves([*rows, *again]) == {("pgd", None): FULL}
    assert rows_to_rewrite([*rows, *again], FULL) == []


def test_what_was_measured_with_changed_settings_may_be_another_suites_own():
    found = curve(0.1, spec={"steps": 1}, changed=["steps"])
    rows = [*CHECKPOINTS, *FULL, *found]
    again = rows_to_rewrite(rows, [row | {"changed": []} for row in found])
    assert again == [row | {"changed": []} for row in found]
    assert cells_of_curves([*rows, *again]) == {("pgd", None): again}
    # a result with the suite's own settings is not written again as a changed one
    assert rows_to_rewrite([*CHECKPOINTS, *FULL], [row | {"changed": ["steps"]} for row in FULL]) == []


def test_epsilons_that_results_call_alike_are_one_point():
    assert cells_of_curves([*curve(8 / 255), *curve(0.0313725)]) == {("pgd", None): curve(0.0313725)}


def test_a_sample_comes_before_as_many_first_images_and_after_more():
    few, sample, first = cell(n=10, subset="first"), cell(n=100, subset="sample"), cell(n=100, subset="first")
    more = cell(n=101, subset="first")

    def shown(*rows: Row) -> Row:
        (curve,) = selected_curves([*CHECKPOINTS, *rows]).values()
        return curve.cells[0]

    assert shown(few, sample, first) == sample
    assert shown(more, sample, first) == more
    assert shown(cell(n=100), sample) == shown(sample, cell(n=100)) == sample, "older versions took the first images"
    clean = selected_clean([*CHECKPOINTS, sample | {"acc_nat": 0.8}, first | {"acc_nat": 0.7}])
    assert clean
    assert clean["acc_nat"] == 0.8


def test_one_epsilon_of_a_sample_does_not_join_the_curve_of_the_first_images():
    rows = [cell(0.1, n=100, subset="first"), cell(0.2, n=100, subset="sample")]
    (curve,) = selected_curves([*CHECKPOINTS, *rows]).values()
    assert curve.epsilons == (0.0, 0.2)


def test_a_curve_of_transfers_is_of_one_checkpoint_of_the_source():
    rows = [*CHECKPOINTS, cell(0.1, source="at", source_checkpoint=OLD), cell(0.2, source="at", source_checkpoint=LAST)]
    assert cells_of_curves(rows) == {("pgd", "at"): rows[-1:]}


def test_more_images_come_before_the_settings():
    few, many = curve(0.1, n=10), curve(0.1, n=360, spec={"steps": 1}, changed=["steps"])
    assert cells_of_curves([*many, *few]) == {("pgd", None): many}


def test_one_epsilon_joins_the_curve_of_its_settings():
    alone = curve(0.15, changed=["epsilons"])
    assert cells_of_curves([*FULL, *alone]) == {("pgd", None): [FULL[0], *alone, FULL[1]]}
    # at an epsilon of both, the one that was measured in its suite's grid counts: the others may have helped it
    assert cells_of_curves([*FULL, *curve(0.1, changed=["epsilons"], accuracy=0.3)]) == {("pgd", None): FULL}


def test_a_best_checkpoint_of_today_comes_before_that_of_yesterday_on_any_images():
    old, new = curve(0.1, 0.2, checkpoint=OLD), curve(0.1, checkpoint=BEST, n=10)
    assert cells_of_curves([*CHECKPOINTS[:1], *old, *CHECKPOINTS[1:], *new, *old]) == {("pgd", None): new}
    # until it is measured, that of yesterday is all there is
    assert cells_of_curves([*CHECKPOINTS[:1], *old, *CHECKPOINTS[1:]]) == {("pgd", None): old}


def test_attacks_and_sources_are_apart():
    rows = [*FULL, *curve(0.1, source="nt", n=10), *curve(0.1, attack="aa", n=10)]
    assert {name: len(cells) for name, cells in cells_of_curves(rows).items()} == {
        ("pgd", None): 2,
        ("pgd", "nt"): 1,
        ("aa", None): 1,
    }


@pytest.mark.parametrize("checkpoint", [LAST, OLD])
def test_checkpoints_do_not_replace_each_other(checkpoint: str):
    other = curve(0.1, checkpoint=checkpoint)
    for rows in ([*CHECKPOINTS, *FULL, *other], [*CHECKPOINTS, *other, *FULL]):
        assert cells_of_curves(rows) == {("pgd", None): FULL}
        assert not_selected(rows, [*FULL, *other]) == rows_to_rewrite(rows, other) == []
        name = checkpoint_name(rows, checkpoint)
        assert f"show the checkpoint best; results of {name}" in (
            describe_checkpoint_shown(rows, "cell", checkpoint) or ""
        )
        assert describe_checkpoint_shown(rows, "cell", BEST) is None
    assert cells_of_curves([*CHECKPOINTS, *other]) == {("pgd", None): other}


def test_all_attacks_that_count_are_on_one_checkpoint():
    last = [*curve(0.1, checkpoint=LAST), *curve(0.1, attack="aa", checkpoint=LAST)]
    rows = [*CHECKPOINTS, *last]
    assert {key: found.checkpoint for key, found in selected_curves(rows).items()} == {
        ("pgd", None): LAST,
        ("aa", None): LAST,
    }
    rows += FULL
    assert cells_of_curves(rows) == {("pgd", None): FULL}
    assert list(selected_curves(rows, "last").values())[1].attack == "aa"
    assert list(selected_curves(rows, f"step-00000020-{LAST[:16]}.pt")) == list(selected_curves(rows, LAST))
    assert also_measured(rows, "cell") == {"last": LAST}
    assert also_measured(rows, "cell", "last") == {"best": BEST}
    # what was asked for was not measured
    assert cells_of_curves([*CHECKPOINTS, *FULL]) == {("pgd", None): FULL}
    assert {curve.checkpoint for curve in selected_curves([*CHECKPOINTS, *FULL], "last").values()} == {BEST}


def test_clean_accuracy_and_the_test_are_of_the_network_that_was_attacked():
    best, last = ({"event": "test", "checkpoint": name, "n": 360, "acc_nat": 0.8} for name in ("best", "last"))
    rows = [*CHECKPOINTS, last, best]
    assert (selected_clean(rows), selected_clean(rows, "last")) == (best, last)
    few_last = [*rows, *curve(0.1, checkpoint=LAST, n=10)]
    assert selected_clean(few_last) == selected_test(few_last) == last
    few_best = [*few_last, *curve(0.1, n=10)]
    assert selected_clean(few_best) == selected_test(few_best) == best
    assert selected_test(few_best, "last") == last


def test_clean_is_of_most_images_of_the_best_checkpoint():
    test = {"event": "test", "checkpoint": "best", "n": 360, "acc_nat": 0.8}
    for rows in ([test, *curve(0.1, n=10)], [test, cell(checkpoint=OLD)], [*curve(0.1, n=10), test]):
        assert selected_clean([*CHECKPOINTS, *rows]) == test
    assert selected_clean([*CHECKPOINTS, test, *FULL]) == FULL[-1]
    assert selected_clean([]) is None


def test_analyses_follow_the_same_rule():
    def row(**changes: Any) -> Row:
        made = {"event": "analysis", "name": "tsne", "checkpoint": BEST, "n": 360} | changes
        return made | {"key": repr(made)}

    full = row()
    for weaker in ({"n": 10}, {"checkpoint": OLD}, {"checkpoint": LAST}, {"changed": ["attacks"]}):
        assert selected_analyses([*CHECKPOINTS, full, row(**weaker)]) == {"tsne": full}
    many, few = row(points=1000), row(points=10)
    assert selected_analyses([many, few]) == {"tsne": many}
