"""Train, sweep, and record the dashboard as an animated SVG: the README's first picture.

    python docs/record_dashboard.py digits_afd                          # writes docs/recording.svg
    python docs/record_dashboard.py digits_afd --set train.epochs=40      # more options of `afdctl train`

The commands run on this machine, in a temporary folder, and leave a journal. The dashboard then draws it at evenly
spaced rows, as `afdctl watch --replay` would, but always as many frames, however fast or loaded the machine is. What
differs between machines is not in the picture: no System pane, no process, no path.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from afdctl.journal import JournalReader
from afdctl.runs import files
from afdctl.tui.drawing.axis import Range
from afdctl.tui.drawing.cells import Cells, Palette
from afdctl.tui.drawing.svg import draw_row, svg_document
from afdctl.tui.screen import compose_frame
from afdctl.tui.state.follower import state
from afdctl.tui.state.history import History
from afdctl.tui.system import System
from afdctl.tui.view import Settings, Snapshot, View

# in cells: as wide as the page of a README, and the smallest size with a side column
SIZE: Final = (110, 34)
ATTACKS: Final = "fgsm,pgd_linf,mim,deepfool,aa"
# frames of the training and of the sweep, seconds of each frame, and seconds that each end remains
TRAINING_FRAMES, SWEEP_FRAMES, SECONDS, PAUSE = 54, 28, 0.22, 2.5
# with an x axis that is as long as the plan from the start, curves grow and the rest stays in place
VIEW: Final = View(Settings(window="plan", hidden=("system",)))
MAX_BYTES: Final = 2_000_000

Shot = tuple[Cells, float]


def main() -> None:
    """Run the commands, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("recording.svg"))
    options, train_options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(afdctl("train", options.recipe, *train_options, "--no-tui", "--runs", folder).strip())
        afdctl("sweep", str(run), "--attacks", ATTACKS)
        picture = compose(list(shots(run)), f"afdctl: the dashboard in {run.name}, a training and a sweep")
    size = len(picture.encode())
    if size > MAX_BYTES:
        sys.exit(f"{size:,} bytes are more than {MAX_BYTES:,}; lower TRAINING_FRAMES or SWEEP_FRAMES")
    files.write_text(options.output, picture)
    print(f"{options.output}: {size:,} bytes")  # noqa: T201


def afdctl(*words: str) -> str:
    """Run a command, with its progress on stderr; return its stdout."""
    result = subprocess.run([sys.executable, "-m", "afdctl", *words], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        # its last lines on stderr are the message
        sys.exit(result.returncode)
    return result.stdout


def shots(run: Path) -> Iterator[Shot]:
    """Yield the frames of a run's training and of its sweep, each with its seconds."""
    lines = JournalReader(run / "events.ndjson").read_all()
    events = [row["event"] for _, row in lines]
    sweep = events.index("sweep")
    # the first row has no steps yet, and the sweep's first row only has its plan
    first_step = events.index("step")
    history, axes, begin = History(), dict[str, Range](), 0
    for end in [*even(first_step, sweep, TRAINING_FRAMES), *even(sweep, len(lines), SWEEP_FRAMES)]:
        history.extend(lines[begin:end])
        begin = end
        snapshot = Snapshot(
            name=run.name,
            history=history,
            state=state(history, is_written=True),
            view=VIEW,
            system=System(),
        )
        frame = compose_frame(snapshot, *SIZE, Palette(), axes=axes)
        axes = frame.axes
        yield frame.cells, PAUSE if end in (sweep, len(lines)) else SECONDS


def even(begin: int, end: int, number: int) -> list[int]:
    """Return at most `number` different integers that divide a range evenly; the last is its end."""
    return sorted({end - (end - begin) * place // number for place in range(number)})


def compose(shots: Sequence[Shot], title: str) -> str:
    """Return an SVG document that shows frames of one size in turn, forever, without scripts.

    Each element is in it once for each time that it is on the screen, and appears and disappears by a style. Without
    animations the frame with the most seconds is shown.
    """
    seconds = [seconds for _, seconds in shots]
    poster = seconds.index(max(seconds))
    drawn = [[element for y in range(cells.height) for element in draw_row(cells, y)] for cells, _ in shots]
    grounds, marks, rules = list[str](), list[str](), list[str]()
    for (begin, end), elements in sorted(spans(drawn).items()):
        rules.append(animation(begin, end, seconds))
        hidden = "" if begin <= poster < end else ' visibility="hidden"'
        # a background must not cover what another group draws on it
        for layer, is_ground in ((grounds, True), (marks, False)):
            if group := [element for element in elements if element.startswith("<rect") == is_ground]:
                layer += [f'<g class="{name(begin, end)}"{hidden}>', *group, "</g>"]
    rules.append("@media (prefers-reduced-motion:reduce){g{animation:none!important}}")
    return svg_document(shots[0][0], [*grounds, *marks], title, "".join(rules))


def spans(drawn: Sequence[Sequence[str]]) -> dict[tuple[int, int], list[str]]:
    """Return elements by the frames that show them: the first, and the one after the last."""
    begins: dict[str, int] = {}
    found = defaultdict[tuple[int, int], list[str]](list)
    # all elements end with the empty frame
    for place, elements in enumerate([*drawn, []]):
        shown = set(elements)
        for element in [element for element in begins if element not in shown]:
            found[begins.pop(element), place].append(element)
        for element in elements:
            begins.setdefault(element, place)
    return found


def name(begin: int, end: int) -> str:
    """Return the name of the class and of the animation of a span of frames."""
    return f"f{begin}-{end}"


def animation(begin: int, end: int, seconds: Sequence[float]) -> str:
    """Return the style that shows a class from frame `begin` to the one before `end`."""
    if end - begin == len(seconds):
        return ""
    total = sum(seconds)
    # the first key frame is always given, or it would be what is shown without animations
    states = {0: "hidden"} | {begin: "visible"} | ({end: "hidden"} if end < len(seconds) else {})
    frames = [f"{sum(seconds[:place]) / total:.2%}{{visibility:{state}}}" for place, state in states.items()]
    rule = f"{{animation:{name(begin, end)} {total:g}s step-end infinite}}"
    return f"@keyframes {name(begin, end)}{{{''.join(frames)}}}.{name(begin, end)}{rule}"


if __name__ == "__main__":
    main()
