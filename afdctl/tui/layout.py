"""Which pane goes where, for any size of terminal."""

from collections.abc import Mapping
from typing import NamedTuple

from afdctl.tui.view import View


class PanePlace(NamedTuple):
    """A rectangle of cells."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        """Whether a cell lies inside."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


Layout = Mapping[str, PanePlace]
"""The places of the panes by name; charts are `chart 0`, `chart 1`, ..."""
CHECKS = 11


def tier(width: int, height: int) -> str:
    """How much a terminal can show."""
    if width < 40 or height < 8:
        return "status"
    if width < 60 or height < 16:
        return "one"
    if width < 76:
        return "column"
    if width < 110 or height < 34:
        return "compact"
    return "wall" if width >= 200 and height >= 50 else "full"


def compute_layout(
    width: int, height: int, view: View, *, charts: int = 4, attacks: int = 0, compare: bool = False
) -> Layout:
    """The places of all panes that are shown: so many charts, or instead of them a grid of so many attacks."""
    kind = tier(width, height)
    if kind == "status":
        return {"status": PanePlace(0, 0, width, height)}
    places: dict[str, PanePlace] = {}
    hidden = set(view.kept.hidden)
    top = 0
    if "header" not in hidden:
        top = {"one": 1, "column": 2, "compact": 2}.get(kind, 3)
        places["header"] = PanePlace(0, 0, width, top)
    bottom = height - 1
    places["footer"] = PanePlace(0, bottom, width, 1)
    right = width
    if kind in ("full", "wall"):
        right = _sides(places, hidden, width, top, bottom, compare)
    elif view.side and view.side not in ("log", "header") and kind != "one":
        right = _one_side(places, view.side, kind, width, top, bottom)
    elif view.side and kind == "one":
        return places | {view.side: PanePlace(0, top, width, bottom - top)}
    log = _log_height(kind, height) if "log" not in hidden and view.log != "off" else 0
    if kind == "column" and view.side in places:
        log = 0
    if view.side == "log" and kind in ("one", "column", "compact"):
        log = max(log, (bottom - top) // 2)
    if log:
        places["log"] = PanePlace(0, bottom - log, right, log)
    field = PanePlace(0, top, right, bottom - log - top)
    if kind == "column" and view.side in places:
        field = PanePlace(0, top, width, field.height - places[view.side or ""].height)
    if attacks:
        return places | _sweep(field, attacks)
    return places | _charts(field, kind, charts if not view.maximised else 1)


def _log_height(kind: str, height: int) -> int:
    if kind in ("full", "wall"):
        return 8 if height >= 40 else 6
    return 5 if height >= 30 and kind != "one" else 0


def _sides(places: dict[str, PanePlace], hidden: set[str], width: int, top: int, bottom: int, compare: bool) -> int:
    """The column at the right; returns where it begins."""
    wide = 40 if width >= 140 else 37
    names = [name for name in ("game", "accuracy", "system") if name not in hidden]
    if not names and not compare:
        return width
    x, room = width - wide, bottom - top
    heights = {"game": min(CHECKS, room // 3), "system": 6}
    if compare:
        # the differences of the recipes take the place of one run's checks
        names = ["compare"]
    given = {name: heights.get(name, 0) for name in names}
    rest = room - sum(given.values())
    given[next((name for name in ("compare", "accuracy") if name in given), names[0])] += rest
    y = top
    for name in names:
        places[name] = PanePlace(x, y, wide, given[name])
        y += given[name]
    return x


def _one_side(places: dict[str, PanePlace], name: str, kind: str, width: int, top: int, bottom: int) -> int:
    """A pane that was asked for, where there is no column for all of them."""
    if kind == "column":
        height = (bottom - top) // 2
        places[name] = PanePlace(0, bottom - height, width, height)
        return width
    places[name] = PanePlace(width - 38, top, 38, bottom - top)
    return width - 38


def _charts(field: PanePlace, kind: str, charts: int) -> dict[str, PanePlace]:
    """As many charts as fit, in equal parts."""
    across = 1 if kind in ("one", "column") or field.width < 60 else 3 if kind == "wall" and field.width >= 150 else 2
    down = 1 if kind == "one" or field.height < 12 else 2
    if kind == "wall" and field.height >= 66:
        down = 3
    charts = max(1, min(charts, across * down))
    across = min(across, charts)
    down = min(down, -(-charts // across))
    places = {}
    for number in range(charts):
        row, column = divmod(number, across)
        # the last row may have fewer
        columns = across if row < down - 1 else charts - across * (down - 1)
        x, y = field.width * column // columns, field.height * row // down
        end_x, end_y = field.width * (column + 1) // columns, field.height * (row + 1) // down
        places[f"chart {number}"] = PanePlace(field.x + x, field.y + y, end_x - x, end_y - y)
    return places


def _sweep(field: PanePlace, attacks: int) -> dict[str, PanePlace]:
    if field.height < 18:
        return {"grid": field}
    height = min(max(attacks + 4, 8), field.height * 3 // 5)
    return {
        "grid": PanePlace(field.x, field.y, field.width, height),
        "curves": PanePlace(field.x, field.y + height, field.width, field.height - height),
    }


def page_size(places: Layout) -> int:
    """How many charts a page shows."""
    return sum(name.startswith("chart") for name in places)
