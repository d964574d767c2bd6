"""The upper edge: which run, how it does, how far it is and how long it will take."""

from afdctl.formatting import NORM_LABELS, format_epsilon
from afdctl.tui.drawing.axis import duration
from afdctl.tui.drawing.cells import Cells, Span, length
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.snapshot import Snapshot

NAMES = {"natural": "NT", "adversarial": "AT", "trades": "TRADES", "matching": "matching"}
GAP = 3


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """Three rows, two, or one, each with what matters most first."""
    cells = Cells(width, height, palette)
    if height >= 3:
        _spread(cells, 0, [*_who(facts, palette)], [_where(facts, palette), _pid(facts, palette)])
        progress(cells, 1, facts, [*_epoch_and_step(facts, palette)], _times(facts, palette))
        _spread(cells, 2, _setting(facts, palette), [_looks(facts, palette)])
    elif height == 2:
        steps = [("step ", palette.ink("dim")), (f"{facts.history.step:,}", palette.ink("strong", bold=True))]
        who, whole = _who(facts, palette), _epoch_and_step(facts, palette)
        _spread(cells, 0, who, [whole if length(who) + length(whole) + GAP + 2 <= width else steps])
        progress(cells, 1, facts, [], _times(facts, palette)[:2])
    elif height == 1:
        cells.put(1, 0, *one_line(facts, palette), end=width)
    return cells


def one_line(facts: Snapshot, palette: Palette) -> list[Span]:
    """The state, the progress, the time left and the name."""
    history = facts.history
    share = f" {history.step / history.steps_total:.0%}" if history.steps_total else ""
    left = f" {duration(history.seconds_left)}" if not facts.state.over and history.seconds_left is not None else ""
    return [
        *_state(facts, palette),
        (f"{share}{left} ", palette.ink("strong")),
        (facts.name, palette.ink("dim")),
    ]


def _spread(cells: Cells, y: int, left: list[Span], rights: list[list[Span]]) -> None:
    """Write at the left, and at the right as much as there is room for."""
    x = cells.put(1, y, *left)
    end = cells.width - 1
    for spans in rights:
        if spans and end - length(spans) >= x + GAP:
            end = cells.put_right(end, y, *spans) - GAP


def progress(cells: Cells, y: int, facts: Snapshot, left: list[Span], rights: list[list[Span]]) -> None:
    """A bar between what stands left and right of it; the times give way to it."""
    palette, history = cells.palette, facts.history
    share = min(1.0, history.step / history.steps_total) if history.steps_total else 0.0
    x = cells.put(1, y, *left) + (2 if left else 0)
    shown: list[Span] = []
    for spans in rights:
        if cells.width - 1 - x - length(shown) - length(spans) - 2 >= 18:
            shown += [("  ", palette.ink("dim")), *spans]
    begin = cells.put_right(cells.width - 1, y, *shown)
    percent: list[Span] = [(f" {share:6.1%}", palette.ink("strong", bold=True))]
    bar(cells, x, begin - length(percent), y, share, facts.state.colour if history.steps_total else "faint")
    cells.put(begin - length(percent), y, *percent)


def bar(cells: Cells, x: int, end: int, y: int, share: float, colour: str) -> None:
    """A line from column x to `end`, of which a share is lit to half a cell."""
    halves = round(share * 2 * (end - x))
    palette = cells.palette
    lit, half = divmod(halves, 2)
    # without colours the rest of the bar is another character
    rest = "─" if palette.depth == "none" else "━"
    spans = [("━" * lit, palette.ink(colour)), ("╸" * half, palette.ink(colour))]
    cells.put(x, y, *spans, (rest * (end - x - lit - half), palette.ink("faint")), end=end)


def _state(facts: Snapshot, palette: Palette) -> list[Span]:
    mark = "◐" if facts.view.frozen else facts.state.mark
    word = f"{facts.state.word}, view frozen" if facts.view.frozen else facts.state.word
    colour = "warn" if facts.view.frozen else facts.state.colour
    return [(f"{mark} {word}", palette.ink(colour, bold=True))]


def _who(facts: Snapshot, palette: Palette) -> list[Span]:
    spans = [
        ("afdctl ", palette.ink("dim")),
        (facts.name, palette.ink("strong", bold=True)),
        ("  ", palette.ink("dim")),
    ]
    spans += _state(facts, palette)
    if facts.share < 0.999:
        spans.append((f"  reading {facts.share:.0%}", palette.ink("dim")))
    if facts.damaged:
        spans.append((f"  {facts.damaged} damaged lines", palette.ink("bad")))
    if facts.replay:
        spans.append((f"  {facts.replay}", palette.ink("d_hdh")))
    return spans


def _where(facts: Snapshot, palette: Palette) -> list[Span]:
    device = str(facts.history.run.get("device") or "")
    return [(device, palette.ink("dim"))] if device else []


def _pid(facts: Snapshot, palette: Palette) -> list[Span]:
    writer = f"pid {facts.pid} on {facts.host}" if facts.host else f"pid {facts.pid}"
    words = [writer] * (facts.pid is not None) + ["read only"] * facts.read_only
    return [(" · ".join(words), palette.ink("dim"))] if words else []


def _epoch_and_step(facts: Snapshot, palette: Palette) -> list[Span]:
    history = facts.history
    if not history.run:
        return [("waiting for the first line of the journal", palette.ink("dim"))]
    epochs, total = int(history.run.get("epochs") or 0), history.steps_total
    return [
        ("epoch ", palette.ink("dim")),
        (f"{history.epoch:>{len(str(epochs))}}", palette.ink("strong", bold=True)),
        (f"/{epochs}  ", palette.ink("dim")),
        ("step ", palette.ink("dim")),
        (f"{history.step:>{len(f'{total:,}')},}", palette.ink("strong", bold=True)),
        (f"/{total:,}", palette.ink("dim")),
    ]


def _times(facts: Snapshot, palette: Palette) -> list[list[Span]]:
    """The time left, the time taken, and the speed, in the order in which they are kept."""
    history = facts.history
    left = history.seconds_left
    speed, images = history.steps_per_second, history.last.get("images_per_s")
    shown = []
    if not facts.state.over and history.step < history.steps_total:
        shown.append([("ETA ", palette.ink("dim")), (f"{duration(left):>5}", palette.ink("strong", bold=True))])
    shown.append([("elapsed ", palette.ink("dim")), (f"{duration(history.elapsed):>5}", palette.ink("text"))])
    if speed:
        pace = f"{speed:.3g} it/s" if speed >= 1 else f"{1 / speed:.3g} s/it"
        rate = f" · {images:,.0f} images/s" if isinstance(images, int | float) else ""
        shown.append([(pace, palette.ink("text")), (rate, palette.ink("dim"))])
    if history.utilisation is not None:
        # of the rate of a matrix product on this machine
        shown.append([(f"{history.utilisation:.0%}", palette.ink("text")), (" MFU", palette.ink("dim"))])
    return shown


def _setting(facts: Snapshot, palette: Palette) -> list[Span]:
    text = " · ".join(setting(facts))
    return [(text, palette.ink("dim")), (warm_epsilon(facts), palette.ink("warn"))]


def setting(facts: Snapshot) -> list[str]:
    """What is trained, against which adversary, at which rates."""
    recipe = facts.history.recipe
    if not recipe:
        return []
    defense, attack = facts.history.table("defense"), facts.history.table("attack")
    name = str(defense.get("name"))
    what = f"AFD-{str(defense.get('game')).upper()}" if name == "afd" else NAMES.get(name, name)
    words = [f"{what} on {facts.history.table('data').get('dataset')}"]
    if name != "natural":
        norm = NORM_LABELS.get(str(attack.get("norm")), str(attack.get("norm")))
        words.append(f"ε {epsilon_text(attack.get('epsilon'))} {norm}")
        words.append(adversary(facts))
    rates = [f"{key} {facts.history.last.get(key, value):g}" for key, value in defense.items() if key.startswith("lr_")]
    return [*words, " ".join(rates), f"batch {facts.history.table('train').get('batch_size')}"]


def adversary(facts: Snapshot) -> str:
    """The adversary and its gradient steps, and how far it is where it begins with less."""
    history, attack = facts.history, facts.history.table("attack")
    name, steps = str(attack.get("name")).upper().replace("_", "-"), attack.get("steps")
    now, plural = history.last.get("attack_steps", steps), "" if steps == 1 else "s"
    if history.epoch <= int(attack.get("n_fgsm_epochs") or 0):
        return f"N-FGSM, then {name} {steps} step{plural}"
    return f"{name} {steps} step{plural}" if now == steps else f"{name} {now} of {steps} steps"


def warm_epsilon(facts: Snapshot) -> str:
    """The present ε while it still grows."""
    attack = facts.history.table("attack")
    warmup = float(attack.get("epsilon_warmup_epochs") or 0) * int(facts.history.run.get("steps_per_epoch") or 1)
    if facts.history.step >= warmup:
        return ""
    return f" · ε now {float(attack.get('epsilon') or 0) * (facts.history.step + 1) / max(1.0, warmup):.4f}"


def epsilon_text(value: object) -> str:
    """ε as people write it: a short decimal, or 8/255."""
    return format_epsilon(value) if isinstance(value, int | float) else str(value)


def _looks(facts: Snapshot, palette: Palette) -> list[Span]:
    kept = facts.view.kept
    words = [f"smoothing {kept.beta:g}", f"x {kept.axis}", "zoom" if facts.view.zoom else kept.window]
    words += ["log y"] * kept.log_y + [f"filter '{facts.view.filter}'"] * bool(facts.view.filter)
    return [(" · ".join(words), palette.ink("dim"))]
