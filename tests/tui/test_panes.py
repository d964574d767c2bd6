"""Test the text of each pane."""

import re

import pytest

from afdctl.runs.alarms import alarm_row
from afdctl.tui import keymap
from afdctl.tui.drawing.cells import Palette
from afdctl.tui.panes import charts, health
from afdctl.tui.screen import PANES, compose_frame
from afdctl.tui.state.log_entries import LogEntry
from afdctl.tui.view import Settings, View
from tests.tui import journals
from tests.tui.conftest import screen, snapshot, text
from tests.tui.journals import RECIPE, RUN, epoch, history, step, training


def pane(name: str, rows: list, width: int = 40, height: int = 20, **changes: object) -> list[str]:
    """The lines within a pane's frame."""
    cells = PANES[name](snapshot(rows, **changes), width, height, Palette())
    lines = cells.text().splitlines()
    return [line.strip("│ ") for line in lines[1:-1]] if lines[0].startswith("╭") else lines


def test_the_header_of_a_running_training():
    head = text(training(620), pid=48121).splitlines()[:3]
    assert re.fullmatch(r" afdctl mnist_wgan-001  ● training +pid 48121   cuda:0", head[0])
    assert re.fullmatch(
        r" epoch 13/20  step   620/1,000  ━+╸━+  62\.0%  ETA 00:4\d  elapsed 01:1\d  8 it/s · 5,120 images/s", head[1]
    )
    assert re.fullmatch(
        r" AFD-WGAN on mnist · ε 0\.3 L∞ · APGD-CE 40 steps · lr_C 0\.1 lr_D 0\.1 lr_F 0\.5 · batch 128"
        r" +smoothing 0\.9 · x step · so far",
        head[2],
    )


def test_the_header_shows_the_utilisation():
    run, *rest = training(620)
    cost = {"event": "cost", "flop": {"C": 1e9}, "batch_size": 128, "product_flop_per_s": 1e11, "floor_seconds": 0.01}
    # 5120 images a second are 40 steps of 128, of 10 ms each at the ceiling
    assert "8 it/s · 5,120 images/s  40% MFU" in text([run, cost, *rest]).splitlines()[1]
    assert "MFU" not in text([run, cost | {"floor_seconds": None}, *rest])


def test_a_short_attack_at_the_beginning_is_shown_and_counted():
    recipe = RECIPE | {"attack": {**RECIPE["attack"], "n_fgsm_epochs": 2, "steps_warmup_epochs": 3}}
    rows = [RUN | {"recipe": recipe}, *training(620)[1:]]
    cost = {
        "event": "cost",
        "flop": {"attack": 8e8, "C": 2e8},
        "attack_step_flop": 10_000_000,
        "batch_size": 128,
        "floor_seconds": 0.01,
    }
    rows[1:1] = [cost]
    full, _ = text(rows).splitlines()[1:3]
    assert "40% MFU" in full
    short = [row | {"attack_steps": 20} if row["event"] == "step" else row for row in rows]
    mfu, setting = text(short).splitlines()[1:3]
    # 20 of 40 steps are 2e8 of 1e9 FLOP less
    assert "32% MFU" in mfu
    assert "APGD-CE 20 of 40 steps" in setting
    single = [row | {"attack_steps": 1, "epoch": 2} if row["event"] == "step" else row for row in rows]
    assert "N-FGSM, then APGD-CE 40 steps" in text(single)


def test_the_remaining_time_counts_that_later_steps_are_slower():
    even = history(training(500))
    assert even.rates.seconds_left == pytest.approx(500 / even.rates.steps_per_second)
    ramped = [row | {"progress": 0.2 * row["step"] / 500} if row["event"] == "step" else row for row in training(500)]
    # a fifth is done after half of the steps
    assert history(ramped).rates.seconds_left == pytest.approx(4 * even.rates.seconds_left)


def test_the_header_says_what_is_unusual():
    first = text(training(620), share=0.34, damaged=2, view=View(frozen=True)).splitlines()[0]
    assert "◐ crashed, view frozen  reading 34%  2 damaged lines" in first
    looks = text(training(620), view=View(Settings(log_y=True, beta=0.98), filter="warn")).splitlines()[2]
    assert looks.endswith("smoothing 0.98 · x step · so far · log y · filter 'warn'")


def test_epsilon_is_shown_while_it_grows():
    recipe = RECIPE | {"attack": {**RECIPE["attack"], "epsilon_warmup_epochs": 2.0}}
    growing = [RUN | {"recipe": recipe}, *training(50)[1:]]
    assert "ε now 0.1530" in text(growing)
    assert "ε now" not in text([RUN | {"recipe": recipe}, *training(150)[1:]])


@pytest.mark.parametrize(("epsilon", "text"), [(8 / 255, "8/255"), (0.3, "0.3"), (None, "None")])
def test_epsilon_is_written_as_people_write_it(epsilon: float | None, text: str):
    recipe = RECIPE | {"attack": {**RECIPE["attack"], "epsilon": epsilon}}
    assert f"· ε {text} L∞ ·" in screen([RUN | {"recipe": recipe}]).cells.text()


def test_the_checks_of_a_healthy_game():
    assert pane("health", training(620), height=13) == [
        "✔ D accuracy    0.500       balanced",
        "✔ D on x / x'   0.52 / 0.48     both",
        "✔ D saturated   0 steps           no",
        "✔ ‖∇L_C‖        0.200             ok",
        "✔ ‖∇L_F‖        0.300             ok",
        "✔ ∇L_F : ∇L_C   1.500             ok",
        "✔ unchanged     1.0%        attacked",
        "✔ L_C per epoch -14.3%       falling",
        "✔ not a number  0               none",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("change", "name", "level", "word"),
    [
        ({"alpha_h_calibrated": 1.5}, "D accuracy", "warn", "D is ahead"),
        ({"alpha_h_calibrated": 1.95}, "D accuracy", "bad", "D wins"),
        ({"alpha_h_calibrated": 0.4}, "D accuracy", "warn", "below chance"),
        ({"alpha_h_calibrated": 1.98}, "D saturated", "warn", "no gradient"),
        ({"d_acc_nat": 1.0, "d_acc_adv": 0.0}, "D on x / x'", "none", "critic offset"),
        ({"grad_F": 0.0}, "‖∇L_F‖", "bad", "vanished"),
        ({"grad_C": 1e4}, "‖∇L_C‖", "warn", "large"),
        ({"fraction_unchanged": 0.1}, "unchanged", "warn", "weak attack"),
        ({"fraction_unchanged": 0.9}, "unchanged", "bad", "no effect"),
        ({"L_C": 9.0}, "L_C per epoch", "warn", "rising"),
        ({"L_F": None}, "not a number", "bad", "diverging"),
    ],
)
def test_each_check_has_a_mark_and_a_word(change: dict, name: str, level: str, word: str):
    rows = [*training(600), *(step(n, **change) for n in range(601, 631 if "L_C" in change else 801))]
    check = next(check for check in health.run_checks(history(rows)) if check.name == name)
    assert (check.level, check.word) == (level, word)
    line = next(line for line in pane("health", rows, height=13) if name in line)
    assert line.startswith(health.MARKS[level][0])
    assert line.endswith(word)


def test_a_game_with_a_zero_of_its_own_is_judged_at_it():
    recipe = RECIPE | {"defense": {"name": "afd", "game": "dcgan"}}
    rows = [RUN | {"recipe": recipe}, *(step(n, d_acc_nat=1.0, d_acc_adv=0.0, alpha_h=1.0) for n in range(1, 200))]
    found = {check.name: check.word for check in health.run_checks(history(rows))}
    assert (found["D accuracy"], found["D on x / x'"]) == ("balanced", "one-sided")
    assert "D accuracy raw" in text(rows)


def test_the_worst_checks_stay_where_there_is_little_room():
    rows = [*training(600), *(step(n, fraction_unchanged=0.9) for n in range(601, 801))]
    assert any("no effect" in line for line in pane("health", rows, height=4))


def test_accuracies_now_best_and_epoch_and_the_bound():
    rows = [*training(600), epoch(13, acc_nat=0.9, acc_adv=0.7, t=journals.BEGIN + 90)]
    lines = pane("accuracy", rows, pid=1)
    assert lines[:4] == [
        "now   best   epoch",
        "clean          90.0   94.0      12",
        "APGD-20        70.0   83.3      12",
        "no AutoAttack; epoch 13, 00:00 ago",
    ]
    assert lines[4:10] == [
        "",
        "bound, Eq. 5",
        "ε_Z          0.100     natural error",
        lines[7],
        lines[8],
        lines[9],
    ]
    half = float(lines[7].split()[2])
    assert lines[7].endswith("calibrated")
    assert float(lines[8].split()[4]) == pytest.approx(0.1 + half, abs=0.0011)
    assert re.fullmatch(r"ε'_Z +0\.300 +! short -0\.\d+", lines[9])


def test_the_tests_say_that_pgd_is_no_autoattack():
    lines = pane("accuracy", training(), height=24)
    assert "test split    clean PGD-40    step" in lines
    assert "best           99.1   88.1     950" in lines
    assert "no AutoAttack; 10,000 images" in lines
    assert sum("PGD" in line for line in lines) <= sum("no AutoAttack" in line for line in lines)


def test_the_probe_has_a_row_and_square_a_column_where_they_ran():
    more = {"epoch": {"acc_probe": 0.5}, "test": {"acc_square": 0.5}}
    rows = [row | more.get(row["event"], {}) for row in training()]
    rows[0]["recipe"] = journals.RECIPE | {"validation": {"steps": 20, "targets": 3, "square_queries": 300}}
    lines = pane("accuracy", rows, height=24)
    assert lines[3] == "probe          50.0   50.0       1"
    assert lines[5] == "probe: APGD, T-3, Square-300"
    assert "test split    clean PGD-40  Square" in lines
    assert "best           99.1   88.1    50.0" in lines


def test_before_the_first_epoch_the_accuracies_are_to_come():
    assert pane("accuracy", training(10))[0] == "after the first epoch"


def test_the_machine():
    assert pane("system", training(10), height=9) == [
        "GPU  ━━━━━━━━━━  83 %  61 °C",
        "VRAM ━━━━━━━━━━ 24.1 GB of 80.0 GB",
        "CPU  ━━━━━━━━━━  37 % of 16",
        "mem  ━━━━━━━━━━ 24.0 GB of 128 GB",
        "run  103 % of a core, 2.1 GB",
        "disk 412 GB free",
        "",
    ] or pane("system", training(10), height=9)[0].endswith("83 %  61 °C")
    assert "disk 412 GB free, low" in pane("system", training(10), height=9, checkpoint_bytes=3e11)


def test_the_log_is_newest_last_and_leaves_checkpoints_to_the_filter():
    lines = pane("log", training(), width=120, height=6)
    assert lines[-1] == "14:18:30 end   finished at step 1,000, exit code 0"
    assert lines[0].endswith("epoch 20: clean 96.0%, APGD-CE 86.0%, no AutoAttack, the best so far")
    saved = pane("log", training(), width=120, height=6, view=View(filter="step-000"))
    assert all(" checkpoint step" in line for line in saved)


def test_the_dashboards_own_notes_are_in_the_log():
    note = LogEntry(journals.BEGIN + 9999, "warn", "D wins")
    assert pane("log", training(), width=90, height=6, notes=[note])[-1].endswith("warn  D wins")


def test_the_output_of_the_trainer():
    lines = pane(
        "log", training(10), width=60, height=6, view=View(log="output"), output=["a warning of torch", "again"]
    )
    assert lines[:2] == ["a warning of torch", "again"]
    assert pane("log", training(10), width=60, height=6, view=View(log="output"))[0] == "it has printed nothing"


def test_the_charts_of_afd():
    keys = [chart.key for chart in charts.available_charts(history(training(100)))]
    assert keys == ["L_C", "L_D", "L_F", "D", "validation", "accuracy", "gradients", "unchanged", "speed"]
    shown = text(training(620))
    for title in ("L_C classifier  0.1", "L_D discriminator  -0.0", "L_F feature extractor  0.2"):
        assert title in shown
    assert re.search(r"D accuracy calibrated  acc 0\.[45]\d+  d_HΔH 0\.0\d+", shown)


@pytest.mark.parametrize(
    ("name", "figures", "keys"),
    [
        ("natural", {"acc_nat": 0.9}, ["L_C", "accuracy", "gradients"]),
        (
            "adversarial",
            {"acc_adv": 0.8, "fraction_unchanged": 0.0},
            ["L_C", "accuracy", "gradients", "unchanged"],
        ),
        ("trades", {"kl": 0.1, "acc_nat": 0.9, "acc_adv": 0.8}, ["L_C", "kl", "accuracy", "gradients"]),
        ("matching", {"sensitivity": 0.1, "acc_nat": 0.9}, ["L_C", "sensitivity", "accuracy", "gradients"]),
    ],
)
def test_the_other_defenses_show_what_they_have(name: str, figures: dict, keys: list[str]):
    run = RUN | {"recipe": RECIPE | {"defense": {"name": name, "lr_C": 0.1}}}
    rows = [
        run,
        *({"event": "step", "step": n, "epoch": 1, "L_C": 1.0, "grad_C": 0.2, **figures} for n in range(1, 30)),
    ]
    assert [chart.key for chart in charts.available_charts(history(rows))] == keys
    shown = text(rows)
    assert "D accuracy" not in shown
    assert "bound" not in shown
    before = [chart.key for chart in charts.available_charts(history([run]))]
    assert before[0] == "L_C"


def test_d_hdh_is_the_distance_of_the_mean_and_not_the_mean_of_distances():
    rows = [dict(RUN), *(step(n, alpha_h_calibrated=1 + (0.2 if n % 2 else -0.2)) for n in range(1, 400))]
    assert re.search(r"d_HΔH 0\.0[012]", text(rows))


def test_validations_are_not_smoothed():
    drawn = screen(training(), view=View(filter="validation")).charts["chart 0"]
    view = View(Settings(beta=0.0), filter="validation")
    assert drawn[1].cells.text() == screen(training(), view=view).charts["chart 0"][1].cells.text()


def test_a_logarithm_is_only_for_what_has_one():
    axes = screen(training(620), view=View(Settings(log_y=True))).axes
    assert {key: axis.log for key, axis in axes.items()} == {"L_C": True, "L_D": False, "L_F": True, "D": False}


def test_the_filter_chooses_charts():
    places = screen(training(200), view=View(filter="grad")).charts
    assert [chart.key for chart, _ in places.values()] == ["gradients"]


def test_the_grid_of_a_sweep_fills_up():
    shown = text([*training(), *journals.sweep(9)], pid=3)
    assert "● sweeping" in shown
    assert "Attacks  quick, best, clean 99.0%, 1,000 images, seed 0" in shown
    assert re.search(r"9 of 16 cells   ETA 00:3\d", shown)
    assert re.search(r"  fgsm L∞ +99\.0 +89\.6 +81\.0 +73\.3 +0\.856", shown)
    assert re.search(r"▸ mim L∞ +99\.0 +~73\.3 +… +… +320/1,000", shown)
    assert re.search(r"  aa L∞ +· +· +· +· +—", shown)
    assert re.search(r"Accuracy by ε.*", shown)
    assert "c mim" in shown


def test_only_cells_of_the_same_key_stand_in_for_planned_ones():
    """The same attack and epsilon on other images is another cell."""
    rows = journals.sweep(16)
    assert "16 of 16 cells " in text([*training(), *rows, rows[0]], pid=3)
    others = [{**cell, "key": f"{cell['key']} of more images"} for cell in rows[0]["cells"]]
    assert "0 of 16 cells " in text([*training(), *rows, {**rows[0], "cells": others}], pid=3)


def test_each_norm_has_its_own_grid_and_chart():
    rows = journals.sweep(16)
    rows[0]["cells"] = [{**cell, "norm": "l2"} if cell["attack"] == "mim" else cell for cell in rows[0]["cells"]]
    rows = [{**row, "norm": "l2"} if row.get("attack") == "mim" else row for row in rows]
    shown = text([*training(), *rows], pid=3)
    assert "Accuracy by ε L∞" in shown
    assert "Accuracy by ε L2" in shown
    assert shown.count(" AUC ") == 2


def test_keys_that_do_nothing_to_a_sweep_are_not_offered():
    rows = [*training(), *journals.sweep(9)]
    edge = text(rows, pid=3).splitlines()[-1]
    assert "v training" in edge
    assert "smooth" not in edge
    assert "k checkpoint" not in edge


def test_a_finished_sweep_and_the_way_back_to_the_training():
    rows = [*training(), *journals.sweep(16)]
    assert "16 of 16 cells " in text(rows)
    assert "L_C classifier" not in text(rows)
    assert "L_C classifier" in text(rows, view=View(sweep=False))


def test_a_sweep_without_autoattack_is_marked():
    rows = journals.sweep(4)
    rows[0]["cells"] = [cell for cell in rows[0]["cells"] if cell["attack"] != "aa"]
    assert "no AutoAttack, 1,000 images" in text([*training(), *rows[:5]])


def test_compared_runs_and_their_differing_values():
    from afdctl.tui.state.follower import state
    from afdctl.tui.view import ComparedRun

    other = history([RUN | {"recipe": RECIPE | {"attack": {**RECIPE["attack"], "epsilon": 0.1}}}, *training(300)[1:]])
    base = snapshot(training(620))
    others = [
        ComparedRun(name="mnist_wgan-001", history=base.history, state=base.state, colour="L_C", letter="a"),
        ComparedRun(name="mnist_wgan-002", history=other, state=state(other, False), colour="L_D", letter="b"),
    ]
    shown = text(training(620), others=others)
    assert re.search(r"L_C classifier  a 0\.\d+  b 0\.\d+", shown)
    assert re.search(r"a ✖ mnist_wgan-001 +94\.0   83\.3", shown)
    lines = [line.rpartition("││")[2].strip("│ ") for line in shown.splitlines()]
    place = lines.index("attack.epsilon")
    assert lines[place - 1 : place + 3] == ["differing values", "attack.epsilon", "a 0.3", "b 0.1"]


def test_the_keys_of_the_last_row_fit_the_moment():
    def words(**changes: object) -> list[str]:
        return [hint.word for hint in keymap.hints(snapshot(training(100), **changes))]

    assert words(pid=1, owner=True)[0] == "detach"
    assert words()[0] == "quit"
    assert {"stop", "checkpoint"} <= set(words(pid=1))
    assert not {"stop", "checkpoint"} & set(words(pid=1, read_only=True))
    assert "continue" in words(view=View(frozen=True))


def test_before_the_first_step_the_charts_wait_empty():
    shown = text([dict(RUN)], pid=1)
    assert "L_C classifier  —" in shown
    assert "D accuracy" in shown
    assert "waiting for the first line of the journal" in text([], pid=1)
    assert "the trainer is starting" in text([], pid=1)


def test_a_message_takes_the_last_row():
    found = compose_frame(snapshot(training(10)), 100, 30, Palette(), message="wrote it")
    assert found.cells.text().splitlines()[-1] == " wrote it"


def test_an_alarm_is_in_the_log_and_first_in_the_health_pane():
    alarm = alarm_row("robust_overfitting", 400, 0.12, 0.067) | {"t": journals.BEGIN}
    rows = [*training(420), alarm]
    assert pane("health", rows)[0].split() == ["✖", "alarm", "robust", "overfitting", "step", "400"]
    assert any("alarm robust overfitting: robust hold-out accuracy is 12.0" in line for line in pane("log", rows, 150))
    # what is trained again may go well
    again = [*rows, {"event": "resume", "t": journals.BEGIN, "step": 350, "epoch": 7}]
    assert "alarm" not in pane("health", again)[0]
