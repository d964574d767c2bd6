"""Several runs beside each other: how each does, and in what their recipes differ."""

from afdctl.runs.diff import differing_keys
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes.accuracy import percent
from afdctl.tui.snapshot import Snapshot


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """The runs with their last accuracies, then the differing values of their recipes."""
    cells = Cells(width, height, palette)
    cells.frame([("Compared runs", palette.ink("strong", bold=True))])
    dim, y = palette.ink("dim"), 1
    cells.put_right(width - 2, y, ("clean    PGD", dim))
    for other in facts.others:
        y += 1
        row = next((row for row in reversed(other.history.epochs) if "acc_nat" in row), {})
        end = cells.put_right(
            width - 2, y, (f"{percent(row.get('acc_nat')):>5}  {percent(row.get('acc_adv')):>5}", palette.ink("strong"))
        )
        ink = palette.ink(other.colour, bold=True)
        cells.put(2, y, (f"{other.letter} {other.state.mark} ", ink), (other.name, palette.ink("text")), end=end - 1)
    y += 1
    cells.put(2, y, ("validation, no AutoAttack", dim), end=width - 1)
    y += 2
    different = differing_keys([other.history.recipe for other in facts.others], missing="—")
    cells.put(2, y, ("differing values" if different else "the recipes are equal", palette.ink("text")), end=width - 1)
    for key, values in different.items():
        y += 1
        if y < height - 1:
            cells.put(2, y, (key, dim), end=width - 1)
        for other, value in zip(facts.others, values, strict=True):
            y += 1
            if y < height - 1:
                cells.put(
                    4,
                    y,
                    (f"{other.letter} ", palette.ink(other.colour)),
                    (str(value), palette.ink("strong")),
                    end=width - 1,
                )
    return cells
