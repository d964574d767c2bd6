"""The header: which run, its state, its progress and the time left; on a tiny terminal, this is all there is."""

from afdctl.formatting import NORM_LABELS, format_duration, format_epsilon, format_number
from afdctl.tui.drawing.cells import Cells, Palette, Span, draw_bar, length
from afdctl.tui.panes.health import d_accuracy
from afdctl.tui.state.history import History
from afdctl.tui.view import Snapshot

GAP = 3
MIN_BAR_WIDTH = 18


def draw(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw three rows, two, or one."""
    cells = Cells(width, height, palette)
    if height >= 3:
        _put_both_sides(cells, 0, _run(snapshot, palette), [_device(snapshot, palette), _process(snapshot, palette)])
        _put_progress(cells, 1, snapshot, _epoch_and_step(snapshot, palette), _times(snapshot, palette))
        _put_both_sides(cells, 2, _recipe(snapshot, palette), [_chart_settings(snapshot, palette)])
    elif height == 2:
        run, progress = _run(snapshot, palette), _epoch_and_step(snapshot, palette)
        if length(run) + length(progress) + GAP + 2 > width:
            step = f"{snapshot.history.step:,}"
            progress = [("step ", palette.ink("dim")), (step, palette.ink("strong", bold=True))]
        _put_both_sides(cells, 0, run, [progress])
        _put_progress(cells, 1, snapshot, [], _times(snapshot, palette)[:2])
    elif height == 1:
        cells.put(1, 0, *_one_line(snapshot, palette), end=width)
    return cells


def draw_status(snapshot: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Draw the state and a metric per row, for a terminal without room for a chart."""
    cells = Cells(width, height, palette)
    cells.put(0, 0, *_one_line(snapshot, palette))
    for y, (name, value) in enumerate(_main_metrics(snapshot)[: height - 1], 1):
        cells.put(0, y, (f"{name} ", palette.ink("dim")), (value, palette.ink("strong", bold=True)))
    return cells


def _main_metrics(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return names and values, the most important first."""
    history = snapshot.history
    metrics = [("step", f"{history.step:,}/{history.steps_total:,}")] if history.run else []
    rows = [row for row in history.epochs if isinstance(row.get("acc_adv"), int | float)]
    if rows:
        name, metric = ("probe", "acc_probe") if "acc_probe" in rows[-1] else ("APGD", "acc_adv")
        metrics += [(name, f"{rows[-1][metric]:.1%} no AA")]
    accuracy = d_accuracy(history)
    if accuracy is not None:
        metrics.append(("D acc", f"{accuracy:.3f}"))
    series, beta = history.series, snapshot.view.settings.beta
    losses = [name for name in ("L_C", "L_D", "L_F") if name in series.names]
    return [*metrics, *((name, format_number(series.latest(name, beta))) for name in losses)]


def _one_line(snapshot: Snapshot, palette: Palette) -> list[Span]:
    """Return the state, the progress, the time left and the name."""
    history = snapshot.history
    progress = f" {history.step / history.steps_total:.0%}" if history.steps_total else ""
    if not snapshot.state.over and history.rates.seconds_left is not None:
        progress += f" {format_duration(history.rates.seconds_left)}"
    return [
        _state(snapshot, palette),
        (f"{progress} ", palette.ink("strong")),
        (snapshot.name, palette.ink("dim")),
    ]


def _put_both_sides(cells: Cells, y: int, left: list[Span], rights: list[list[Span]]) -> None:
    """Write at the left, and from the right as many groups as fit."""
    x = cells.put(1, y, *left)
    end = cells.width - 1
    for spans in rights:
        if spans and end - length(spans) >= x + GAP:
            end = cells.put_right(end, y, *spans) - GAP


def _put_progress(cells: Cells, y: int, snapshot: Snapshot, left: list[Span], rights: list[list[Span]]) -> None:
    """Draw the progress bar between `left` and as many groups at the right as leave it its minimum width."""
    palette, history = cells.palette, snapshot.history
    share = min(1.0, history.step / history.steps_total) if history.steps_total else 0.0
    x = cells.put(1, y, *left) + (2 if left else 0)
    right: list[Span] = []
    for spans in rights:
        # the first groups are the most important, so a later one may be left out
        if cells.width - 1 - x - length(right) - length(spans) - 2 >= MIN_BAR_WIDTH:
            right += [("  ", palette.ink("dim")), *spans]
    right_begin = cells.put_right(cells.width - 1, y, *right)
    percent = (f" {share:6.1%}", palette.ink("strong", bold=True))
    bar_end = right_begin - length([percent])
    draw_bar(cells, x, bar_end, y, share, snapshot.state.colour if history.steps_total else "faint")
    cells.put(bar_end, y, percent)


def _state(snapshot: Snapshot, palette: Palette) -> Span:
    state = snapshot.state
    if snapshot.view.frozen:
        return (f"◐ {state.word}, view frozen", palette.ink("warn", bold=True))
    return (f"{state.mark} {state.word}", palette.ink(state.colour, bold=True))


def _run(snapshot: Snapshot, palette: Palette) -> list[Span]:
    """Return the name and the state, and what is unusual about the journal."""
    spans = [
        ("afdctl ", palette.ink("dim")),
        (snapshot.name, palette.ink("strong", bold=True)),
        ("  ", palette.ink("dim")),
        _state(snapshot, palette),
    ]
    # the newest rows of a growing journal are unread at almost any moment
    if snapshot.share < 0.999:
        spans.append((f"  reading {snapshot.share:.0%}", palette.ink("dim")))
    if snapshot.damaged:
        spans.append((f"  {snapshot.damaged} damaged lines", palette.ink("bad")))
    if snapshot.replay:
        spans.append((f"  {snapshot.replay}", palette.ink("d_hdh")))
    return spans


def _device(snapshot: Snapshot, palette: Palette) -> list[Span]:
    device = str(snapshot.history.run.get("device") or "")
    return [(device, palette.ink("dim"))] if device else []


def _process(snapshot: Snapshot, palette: Palette) -> list[Span]:
    process = f"pid {snapshot.pid} on {snapshot.host}" if snapshot.host else f"pid {snapshot.pid}"
    words = [process] * (snapshot.pid is not None) + ["read only"] * snapshot.read_only
    return [(" · ".join(words), palette.ink("dim"))] if words else []


def _epoch_and_step(snapshot: Snapshot, palette: Palette) -> list[Span]:
    history = snapshot.history
    if not history.run:
        return [("waiting for the first line of the journal", palette.ink("dim"))]
    # padded to the width of the total, so that the bar keeps its place as the numbers grow
    epochs, steps = int(history.run.get("epochs") or 0), history.steps_total
    return [
        ("epoch ", palette.ink("dim")),
        (f"{history.epoch:>{len(str(epochs))}}", palette.ink("strong", bold=True)),
        (f"/{epochs}  ", palette.ink("dim")),
        ("step ", palette.ink("dim")),
        (f"{history.step:>{len(f'{steps:,}')},}", palette.ink("strong", bold=True)),
        (f"/{steps:,}", palette.ink("dim")),
    ]


def _times(snapshot: Snapshot, palette: Palette) -> list[list[Span]]:
    """Return the time left, the time taken, the speed and the utilisation, most important first."""
    history, rates = snapshot.history, snapshot.history.rates
    dim, text = palette.ink("dim"), palette.ink("text")
    groups = []
    if not snapshot.state.over and history.step < history.steps_total:
        eta = f"{format_duration(rates.seconds_left):>5}"
        groups.append([("ETA ", dim), (eta, palette.ink("strong", bold=True))])
    groups.append([("elapsed ", dim), (f"{format_duration(history.elapsed):>5}", text)])
    speed, images = rates.steps_per_second, history.last.get("images_per_s")
    if speed:
        steps = f"{speed:.3g} it/s" if speed >= 1 else f"{1 / speed:.3g} s/it"
        groups.append([(steps, text), (f" · {images:,.0f} images/s" if isinstance(images, int | float) else "", dim)])
    utilisation = _utilisation(history)
    if utilisation is not None:
        groups.append([(f"{utilisation:.0%}", text), (" MFU", dim)])
    return groups


def _utilisation(history: History) -> float | None:
    """Return FLOP/s relative to a matrix product on this machine; None where the journal lacks the cost of a step."""
    cost, images = history.cost, history.last.get("images_per_s")
    batch_size, floor_seconds = cost.get("batch_size"), cost.get("floor_seconds")
    # a wrong type in one row must not replace the header by an error
    if not isinstance(images, int | float) or not isinstance(floor_seconds, int | float):
        return None
    if not isinstance(batch_size, int) or not batch_size:
        return None
    return floor_seconds * _share_of_full_step(history) * images / batch_size


def _share_of_full_step(history: History) -> float:
    """Return the FLOP of the last step relative to one with all attack steps; training may begin with fewer."""
    steps, all_steps = history.last.get("attack_steps"), history.table("attack").get("steps")
    attack_step_flop, flop = history.cost.get("attack_step_flop"), history.cost.get("flop")
    if not isinstance(steps, int) or not isinstance(all_steps, int):
        return 1.0
    if not isinstance(attack_step_flop, int) or not isinstance(flop, dict):
        return 1.0
    return 1 - (all_steps - steps) * attack_step_flop / float(sum(flop.values()))


def _recipe(snapshot: Snapshot, palette: Palette) -> list[Span]:
    return [
        (" · ".join(_recipe_words(snapshot)), palette.ink("dim")),
        (_warmup_epsilon(snapshot), palette.ink("warn")),
    ]


def _recipe_words(snapshot: Snapshot) -> list[str]:
    """Return the defense and data set, the attack, the learning rates and the batch size."""
    history = snapshot.history
    if not history.recipe:
        return []
    defense, attack = history.table("defense"), history.table("attack")
    descriptor = history.defense
    words = [f"{descriptor.method(defense, attack)} on {history.dataset}"]
    # natural training uses the table of the attack in validations only
    if descriptor.attacked:
        norm = NORM_LABELS.get(str(attack.get("norm")), str(attack.get("norm")))
        words.append(f"ε {_format_epsilon(attack.get('epsilon'))} {norm}")
        words.append(_attack_words(snapshot))
    # the journal has the present learning rate, the recipe the initial one
    lrs = [f"{key} {history.last.get(key, value):g}" for key, value in defense.items() if key.startswith("lr_")]
    return [*words, " ".join(lrs), f"batch {history.table('train').get('batch_size')}"]


def _attack_words(snapshot: Snapshot) -> str:
    """Return the training attack and its steps, and the present steps where it begins with fewer."""
    history, attack = snapshot.history, snapshot.history.table("attack")
    name, steps = str(attack.get("name")).upper().replace("_", "-"), attack.get("steps")
    current, plural = history.last.get("attack_steps", steps), "" if steps == 1 else "s"
    # the last epoch takes all attack steps
    if history.epoch <= min(int(attack.get("n_fgsm_epochs") or 0), int(history.run.get("epochs") or 1) - 1):
        return f"N-FGSM, then {name} {steps} step{plural}"
    return f"{name} {steps} step{plural}" if current == steps else f"{name} {current} of {steps} steps"


def _warmup_epsilon(snapshot: Snapshot) -> str:
    """Return the present ε during its warm-up."""
    history, attack = snapshot.history, snapshot.history.table("attack")
    # a longer warm-up ends with the training
    epochs = min(float(attack.get("epsilon_warmup_epochs") or 0), int(history.run.get("epochs") or 1))
    warmup_steps = epochs * int(history.run.get("steps_per_epoch") or 1)
    if history.step >= warmup_steps:
        return ""
    # of the step in progress: the trainer's schedule counts from 0
    return f" · ε now {float(attack.get('epsilon') or 0) * (history.step + 1) / max(1.0, warmup_steps):.4f}"


def _format_epsilon(value: object) -> str:
    return format_epsilon(value) if isinstance(value, int | float) else str(value)


def _chart_settings(snapshot: Snapshot, palette: Palette) -> list[Span]:
    settings = snapshot.view.settings
    words = [f"smoothing {settings.beta:g}", f"x {settings.axis}", "zoom" if snapshot.view.zoom else settings.window]
    words += ["log y"] * settings.log_y + [f"filter '{snapshot.view.filter}'"] * bool(snapshot.view.filter)
    return [(" · ".join(words), palette.ink("dim"))]
