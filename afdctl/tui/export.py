"""Files of the screen: SVG and text, and as CSV the columns of its charts or the cells of its sweep."""

import csv
import math
from html import escape
from io import StringIO
from pathlib import Path

from rich.color_triplet import ColorTriplet
from rich.style import Style

from afdctl.formatting import printable
from afdctl.runs import files
from afdctl.tui.drawing.cells import BLANK, Cells, Palette
from afdctl.tui.panes.chart import RenderedChart, sample_curves
from afdctl.tui.panes.charts import ChartSpec
from afdctl.tui.screen import Frame
from afdctl.tui.view import Snapshot

# the size of a cell, of its font, and of the margin of a picture, in pixels
WIDTH, HEIGHT, FONT, MARGIN = 8.4, 17.0, 14.0, 10.0
FONTS = "'JetBrains Mono', 'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# thin lines in a cell of WIDTH x HEIGHT: w and h are its middle, W and H its ends
RULES = {
    "─": "M0 {h}H{W}",
    "│": "M{w} 0V{H}",
    "╭": "M{w} {H}V{g}Q{w} {h} {k} {h}H{W}",
    "╮": "M{w} {H}V{g}Q{w} {h} {j} {h}H0",
    "╰": "M{w} 0V{f}Q{w} {h} {k} {h}H{W}",
    "╯": "M{w} 0V{f}Q{w} {h} {j} {h}H0",
    "┈": "M1 {h}h1.4m2.2 0h1.4m2.2 0h1.4",
    "╌": "M.8 {h}h2.8m1.4 0h2.8",
    "╎": "M{w} 1.5v5.5m0 3v5.5",
}
# bars in the middle of a cell: begin and end as fractions of its width
BARS = {"━": (0.0, 1.0), "╸": (0.0, 0.5), "╺": (0.5, 1.0)}


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """Return a path that does not exist yet: `stem.svg`, `stem-2.svg`, ..."""
    path, number = folder / f"{stem}{suffix}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path


def write_svg(frame: Frame, snapshot: Snapshot, folder: Path) -> Path:
    """Write the screen as SVG. Errors: OSError, DiskFullError."""
    path = free_path(folder, f"{snapshot.name}-step-{snapshot.history.step}", ".svg")
    files.write_text(path, to_svg(frame.cells, f"afdctl: {snapshot.name}"))
    return path


def write_text(frame: Frame, snapshot: Snapshot, palette: Palette, folder: Path) -> tuple[Path, Path]:
    """Write the screen as text and its data as CSV. Errors: OSError, DiskFullError."""
    path = free_path(folder, f"{snapshot.name}-step-{snapshot.history.step}", ".txt")
    files.write_text(path, frame.cells.text() + "\n")
    # in memory, so that the file is written completely or not at all
    buffer = StringIO(newline="")
    table = csv.writer(buffer)
    table.writerow(["chart", "metric", "run", "x", "mean", "low", "high"])
    if snapshot.shows_sweep:
        table.writerows(sweep_rows(snapshot))
    for spec, rendered in frame.charts.values():
        table.writerows(chart_rows(spec, rendered, snapshot, palette))
    table_path = path.with_suffix(".csv")
    files.write_text(table_path, buffer.getvalue())
    return path, table_path


def sweep_rows(snapshot: Snapshot) -> list[list[object]]:
    """Return norm, attack, run, epsilon, accuracy and interval of each measured cell of a sweep."""
    sweep = snapshot.history.sweep
    return [
        [
            sweep.norms.get(key, ""),
            " from ".join(filter(None, key)),
            snapshot.name,
            f"{epsilon:g}",
            cell.accuracy,
            cell.low,
            cell.high,
        ]
        for key, row in sweep.cells.items()
        for epsilon, cell in row.items()
        if cell.accuracy is not None and not cell.partial
    ]


def chart_rows(spec: ChartSpec, rendered: RenderedChart, snapshot: Snapshot, palette: Palette) -> list[list[object]]:
    """Return chart, metric, run, x, mean and band of each column of dots that holds a value."""
    columns = 2 * rendered.plot_width
    x_range = rendered.x_range
    step = (x_range.high - x_range.low) / columns
    run_names = [other.name for other in snapshot.others] or [snapshot.name] * len(spec.curves)
    rows: list[list[object]] = []
    for place, curve in enumerate(sample_curves(spec, snapshot, x_range, columns, palette)):
        # of compared runs only the first metric is drawn
        curve_spec = spec.curves[0 if snapshot.others else min(place, len(spec.curves) - 1)]
        run_name = run_names[min(place, len(run_names) - 1)]
        for column, mean in enumerate(curve.mean.tolist()):
            if not math.isnan(mean):
                band = [edge[column] for edge in (curve.low, curve.high) if edge is not None]
                x = x_range.low + (column + 0.5) * step
                rows.append([spec.key, curve_spec.name or curve_spec.metric, run_name, f"{x:g}", mean, *band])
    return rows


def to_svg(cells: Cells, title: str = "afdctl") -> str:
    """Return an SVG document of the cells."""
    width, height = cells.width * WIDTH + 2 * MARGIN, cells.height * HEIGHT + 2 * MARGIN
    ground, _ = _colours(cells.palette.styles[cells.palette.ink("text")], cells)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>text{{font:{FONT:g}px {FONTS};white-space:pre}}.b{{font-weight:700}}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{ground}"/>',
        f'<g transform="translate({MARGIN:g} {MARGIN:g})">',
    ]
    for y in range(cells.height):
        parts += _draw_row(cells, y, ground)
    return printable("\n".join([*parts, "</g></svg>\n"]))


def _draw_row(cells: Cells, y: int, ground: str) -> list[str]:
    """Return the elements of a row: backgrounds, then shapes, then text."""
    grounds: list[str] = []
    texts: list[str] = []
    shapes: dict[tuple[str, bool], list[str]] = {}
    # one path per colour keeps the file small: a dot is one command, not an element
    strip = cells.strip(y)
    x = 0
    for text, style, _ in strip:
        back, front = _colours(style or Style(), cells)
        if back != ground:
            grounds.append(_box(x, y, len(text), back))
        for begin, word in _split_words(text):
            bold = ' class="b"' if style and style.bold else ""
            # a viewer may lack the fonts; the word still takes its cells
            length = f' textLength="{len(word) * WIDTH:.5g}"' if len(word) > 1 else ""
            place = f'x="{(x + begin) * WIDTH:.5g}" y="{y * HEIGHT + 12.6:.5g}"'
            texts.append(f'<text {place}{length}{bold} fill="{front}">{escape(word)}</text>')
        for column, character in enumerate(text, x):
            if path := _shape(character, column, y):
                shapes.setdefault((front, character in RULES), []).append(path)
        x += len(text)
    drawn = [
        f'<path d="{"".join(paths)}" ' + (f'fill="none" stroke="{colour}"/>' if line else f'fill="{colour}"/>')
        for (colour, line), paths in shapes.items()
    ]
    return [*grounds, *drawn, *texts]


def _split_words(text: str) -> list[tuple[int, str]]:
    """Return the parts of a text that are not drawn as shapes, with their first columns."""
    words: list[tuple[int, str]] = []
    word, begin = "", 0
    # the rule at the end completes the last word
    for place, character in enumerate([*text, "─"]):
        drawn = (
            character in RULES or character in BARS or 0x2580 <= ord(character) <= 0x2588 or ord(character) >= 0x2800
        )
        blank = ord(character) == BLANK
        if drawn or (blank and not word):
            if word.rstrip():
                words.append((begin, word.rstrip()))
            word = ""
        else:
            begin = begin if word else place
            word += character
    return words


def _shape(character: str, x: int, y: int) -> str:
    """Return the path of a character that is drawn as a shape; empty for letters."""
    code, left, top = ord(character), x * WIDTH, y * HEIGHT
    if 0x2800 < code <= 0x28FF:
        return "".join(_dot(left, top, bit) for bit in range(8) if code - 0x2800 >> bit & 1)
    if 0x2581 <= code <= 0x2588:
        high = (code - 0x2580) / 8 * HEIGHT
        # 0.2 wider than the cell, as backgrounds are, or gaps would show between cells
        return f"M{left:.5g} {top + HEIGHT - high:.5g}h{WIDTH + 0.2:g}v{high + 0.2:.4g}h-{WIDTH + 0.2:g}z"
    if code == 0x2580:
        return f"M{left:.5g} {top:.5g}h{WIDTH:g}v{HEIGHT / 2:g}h-{WIDTH:g}z"
    if character in BARS:
        begin, end = BARS[character]
        wide = (end - begin) * WIDTH
        return f"M{left + begin * WIDTH:.5g} {top + HEIGHT / 2 - 1.6:.5g}h{wide:g}v3.2h-{wide:g}z"
    if character in RULES:
        w, h = WIDTH / 2, HEIGHT / 2
        numbers = {"w": w, "h": h, "W": WIDTH, "H": HEIGHT, "f": h - 4, "g": h + 4, "j": w - 4, "k": w + 4}
        return _translate(RULES[character].format(**{name: f"{value:g}" for name, value in numbers.items()}), left, top)
    return ""


def _translate(path: str, left: float, top: float) -> str:
    """Move a path. Of its commands, only M, H, V and Q have absolute coordinates."""
    out, numbers, command = [], 0, ""
    for token in _tokens(path):
        if token.isalpha():
            command, numbers = token, 0
            out.append(token)
            continue
        across = command == "H" or (command in "MQ" and numbers % 2 == 0)
        down = command == "V" or (command in "MQ" and numbers % 2 == 1)
        out.append(f"{float(token) + (left if across else top if down else 0):.5g} ")
        numbers += 1
    return "".join(out)


def _tokens(path: str) -> list[str]:
    """Split a path into commands and numbers."""
    return "".join(f" {char} " if char.isalpha() else char for char in path).split()


def _dot(left: float, top: float, bit: int) -> str:
    # braille first had three rows of dots; bits 6 and 7 are the fourth
    column, row = (0, bit) if bit < 3 else (1, bit - 3) if bit < 6 else (bit - 6, 3)
    x, y = left + (column + 0.5) * WIDTH / 2 - 1.25, top + (row + 0.5) * HEIGHT / 4 - 1.25
    return f"M{x:.5g} {y + 1.25:.5g}a1.25 1.25 0 1 0 2.5 0a1.25 1.25 0 1 0-2.5 0"


def _box(x: int, y: int, number: int, colour: str) -> str:
    size = f'width="{number * WIDTH + 0.2:.5g}" height="{HEIGHT + 0.2:.4g}"'
    return f'<rect x="{x * WIDTH:.5g}" y="{y * HEIGHT:.5g}" {size} fill="{colour}"/>'


def _colours(style: Style, cells: Cells) -> tuple[str, str]:
    """Return background and text colour. Without colours a picture is black on white."""
    dark = cells.palette.dark
    plain = ("#111111", "#dddddd") if dark else ("#ffffff", "#222222")
    back = _hex(style.bgcolor.get_truecolor() if style.bgcolor else None) or plain[0]
    front = _hex(style.color.get_truecolor() if style.color else None) or ("#888888" if style.dim else plain[1])
    return (front, back) if style.reverse else (back, front)


def _hex(colour: ColorTriplet | None) -> str:
    return colour.hex if colour else ""
