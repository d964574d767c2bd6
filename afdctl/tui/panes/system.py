"""The machine: load, memory and disk, as short bars."""

from afdctl.tui.drawing.axis import size
from afdctl.tui.drawing.cells import Cells
from afdctl.tui.drawing.palette import Palette
from afdctl.tui.panes.header import bar
from afdctl.tui.snapshot import Snapshot
from afdctl.tui.state.system import Gpu, System

BAR_AT, BAR_END = 6, 16


def draw(facts: Snapshot, width: int, height: int, palette: Palette) -> Cells:
    """A row each for GPU, processor, memory, trainer and disk, the first ones first."""
    cells = Cells(width, height, palette)
    cells.frame([("System", palette.ink("strong", bold=True))])
    for y, (name, share, text) in enumerate(rows(facts.system, facts)[: height - 2], 1):
        low = name == "disk" and share is None and "low" in text
        cells.put(2, y, (name, palette.ink("text")))
        if share is None:
            cells.put(BAR_AT + 1, y, (text, palette.ink("bad" if low else "dim")), end=width - 1)
            continue
        colour = "bad" if share > 0.95 else "warn" if share > 0.85 else "L_C"
        bar(cells, BAR_AT + 1, BAR_END + 1, y, min(1.0, share), colour)
        cells.put(BAR_END + 2, y, (text, palette.ink("dim")), end=width - 1)
    return cells


def rows(system: System, facts: Snapshot) -> list[tuple[str, float | None, str]]:
    """Name, share of what there is, and words."""
    found: list[tuple[str, float | None, str]] = []
    for gpu in system.gpus[:2]:
        found += [
            ("GPU", gpu.load / 100, _heat(gpu)),
            ("VRAM", gpu.used / max(1.0, gpu.total), _of(gpu.used, gpu.total)),
        ]
    if not system.total:
        return [("", None, "")]
    found.append(("CPU", system.cpu / 100, f"{system.cpu:3.0f} % of {system.cores}"))
    found.append(("mem", system.used / system.total, _of(system.used, system.total)))
    if system.trainer:
        found.append(("run", None, f"{system.trainer[0]:.0f} % of a core, {size(system.trainer[1])}"))
    if system.free is not None:
        # the next two checkpoints have to fit
        low = ", low" if system.free < 2 * max(facts.checkpoint_bytes, 5e7) else ""
        found.append(("disk", None, f"{size(system.free)} free{low}"))
    return found


def _heat(gpu: Gpu) -> str:
    return f"{gpu.load:3.0f} %" + (f"  {gpu.temperature:.0f} °C" if gpu.temperature is not None else "")


def _of(used: float, total: float) -> str:
    return f"{size(used)} of {size(total)}"
