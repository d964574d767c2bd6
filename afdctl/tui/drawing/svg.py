"""Cells as SVG: letters are text; dots, bars and frames are shapes, so that no font is needed for them."""

from collections.abc import Iterable
from html import escape

from rich.color_triplet import ColorTriplet
from rich.style import Style

from afdctl.formatting import printable
from afdctl.tui.drawing.cells import BLANK, Cells

# the size of a cell, of its font, and of the margin of a picture, in pixels
WIDTH, HEIGHT, FONT, MARGIN = 8.4, 17.0, 14.0, 10.0
FONTS = "'JetBrains Mono', 'Fira Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# a dot (class d) is a line without length, of which the round ends remain
STYLE = (
    f"text{{font:{FONT:g}px {FONTS};white-space:pre}}.b{{font-weight:700}}.r{{fill:none}}"
    ".d{fill:none;stroke-width:2.5;stroke-linecap:round}"
)
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


def to_svg(cells: Cells, title: str = "afdctl") -> str:
    """Return an SVG document of the cells."""
    return svg_document(cells, (element for y in range(cells.height) for element in draw_row(cells, y)), title)


def svg_document(cells: Cells, elements: Iterable[str], title: str, style: str = "") -> str:
    """Return an SVG document with the size and the ground of the cells, and with more rules of style."""
    width, height = cells.width * WIDTH + 2 * MARGIN, cells.height * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}{style}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{_ground(cells)}"/>',
        f'<g transform="translate({MARGIN:g} {MARGIN:g})">',
        *elements,
    ]
    return printable("\n".join([*parts, "</g></svg>\n"]))


def draw_row(cells: Cells, y: int) -> list[str]:
    """Return the SVG elements of a row: backgrounds, then shapes, then text."""
    ground = _ground(cells)
    grounds: list[str] = []
    texts: list[str] = []
    # one path per colour and kind keeps the file small: a dot is one command, not an element
    shapes: dict[tuple[str, str], list[str]] = {}
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
                shapes.setdefault((_paint(character), front), []).append(path)
        x += len(text)
    drawn = [f'<path d="{"".join(paths)}" {paint}="{colour}"/>' for (paint, colour), paths in shapes.items()]
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


def _paint(character: str) -> str:
    """Return the attributes of a shape, up to the one of its colour."""
    return 'class="r" stroke' if character in RULES else 'class="d" stroke' if _is_dots(character) else "fill"


def _shape(character: str, x: int, y: int) -> str:
    """Return the path of a character that is drawn as a shape; empty for letters."""
    code, left, top = ord(character), x * WIDTH, y * HEIGHT
    if _is_dots(character):
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


def _is_dots(character: str) -> bool:
    return 0x2800 < ord(character) <= 0x28FF


def _dot(left: float, top: float, bit: int) -> str:
    # braille first had three rows of dots; bits 6 and 7 are the fourth
    column, row = (0, bit) if bit < 3 else (1, bit - 3) if bit < 6 else (bit - 6, 3)
    return f"M{left + (column + 0.5) * WIDTH / 2:.5g} {top + (row + 0.5) * HEIGHT / 4:.5g}h0"


def _box(x: int, y: int, number: int, colour: str) -> str:
    size = f'width="{number * WIDTH + 0.2:.5g}" height="{HEIGHT + 0.2:.4g}"'
    return f'<rect x="{x * WIDTH:.5g}" y="{y * HEIGHT:.5g}" {size} fill="{colour}"/>'


def _ground(cells: Cells) -> str:
    """Return the colour of the background."""
    return _colours(cells.palette.styles[cells.palette.ink("text")], cells)[0]


def _colours(style: Style, cells: Cells) -> tuple[str, str]:
    """Return background and text colour. Without colours a picture is black on white."""
    dark = cells.palette.dark
    plain = ("#111111", "#dddddd") if dark else ("#ffffff", "#222222")
    back = _hex(style.bgcolor.get_truecolor() if style.bgcolor else None) or plain[0]
    front = _hex(style.color.get_truecolor() if style.color else None) or ("#888888" if style.dim else plain[1])
    return (front, back) if style.reverse else (back, front)


def _hex(colour: ColorTriplet | None) -> str:
    return colour.hex if colour else ""
