"""The benchmark's figures for people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from afdctl.cli.accuracies import Stdout
from afdctl.cli.sweeping import duration

Row = Mapping[str, Any]
NAMES: Final = {"afd": "AFD", "at": "AT", "trades": "TRADES", "nt": "NT"}

SOURCES: Final = {
    "threads": "OMP_NUM_THREADS, else all cores; a resumed run keeps its own",
    "layout": "channels last where model.width is a multiple of 16, else contiguous",
    "precision": "train.precision",
    "compile": "train.compile",
}
"""Where a training takes its settings from."""


def show(report: Row) -> None:
    """Print all tables on stdout."""
    console = Stdout()
    for row in report["steps"]:
        for table in (parts(report, row), roofline(report, row), compared(report, row)):
            console.print(table)
    console.print(whole(report))
    if report["settings"]:
        shown = settings(report["settings"])
        console.print(shown)
        for name in [str(column.header) for column in shown.columns if column.header in SOURCES]:
            console.print(f"{name}: {SOURCES[name]}")


def parts(report: Row, row: Row) -> Table:
    """What each part of the step costs by count, and by clock."""
    attack = f"{row['attack_steps']} attack steps" if row["parts"]["attack"]["flop"] else "no attack"
    title = (
        f"{called(report['defense'])}, one step at batch {report['batch_size']}: {attack}, {report['device']}, "
        f"threads: {report['threads']}, {report['precision']}"
    )
    title += f", compiled ({report['compile']}); shares of time: eager" if report["compile"] else ""
    shown = titled(title, "part", "passes", "by FLOP", "GFLOP", "predicted", "of the time")
    for name, part in row["parts"].items():
        if part["passes"] is None:
            shown.add_row(name, "", "", "", "", f"{part['share']:.2%}")
            continue
        counted = str(part["passes"]), f"{part['flop_passes']:.2f}", f"{part['flop'] / 1e9:.4g}"
        shown.add_row(name, *counted, f"{part['predicted']:.1%}", f"{part['share']:.1%}")
    counts = [part for part in row["parts"].values() if part["passes"] is not None]
    passes, flop_passes = (sum(part[key] for part in counts) for key in ("passes", "flop_passes"))
    shown.add_section()
    shown.add_row("all", str(passes), f"{flop_passes:.2f}", f"{row['flop'] / 1e9:.4g}", "", "")
    return shown


def roofline(report: Row, row: Row) -> Table:
    """The ceilings of this device, the floor that they imply, and how near the step comes."""
    shown = titled("ceilings and floor", "", "")
    lines = {
        f"matrix product, {report['dtype']}": f"{row['product_flop_per_s'] / 1e9:.4g} GFLOP/s",
        "copy": f"{row['copy_bytes_per_s'] / 1e9:.4g} GB/s",
        "bytes of products and convolutions": f"{row['bytes'] / 1e6:.4g} MB",
        "bytes of all operations, unfused": f"{row['bytes_unfused'] / 1e6:.4g} MB",
        "floor of a step": milliseconds(row["floor_seconds"]),
        "measured step": milliseconds(row[f"{report['defense']}_seconds"]),
        "model FLOP utilisation": f"{row['utilisation']:.1%}",
        "floor over step": f"{row['floor_over_step']:.1%}",
        "peak memory": f"{row['peak_bytes'] / 1e6:.4g} MB",
    }
    for name, value in lines.items():
        shown.add_row(name, value)
    return shown


def compared(report: Row, row: Row) -> Table:
    """The steps that were taken in turn, and how many times as long one takes as another."""
    alike = report["precision"] == "float32" and not report["compile"]
    shown = titled("in turn" if alike else "in turn; published: float32, eager", "step", "time", "ratio")
    for key, value in row.items():
        if key.endswith("_seconds") and key != "floor_seconds":
            shown.add_row(called(key.removesuffix("_seconds")), milliseconds(value), "")
    shown.add_section()
    for key, value in row.items():
        if "_over_" in key and key != "floor_over_step":
            shown.add_row(" / ".join(map(called, key.split("_over_"))), "", spread(value))
    shown.add_row("journal + HDF5", "", f"{row['journal_share']:.2%}")
    return shown


def whole(report: Row) -> Table:
    """The time that the recipe will take."""
    eta = report["eta"]
    shown = titled("the whole recipe", "", "")
    if eta is None:
        shown.add_row("time", "not known: the folder's size is not")
        return shown
    grows = "" if float(eta["attack_steps"]).is_integer() else f", {eta['attack_steps']:.1f} attack steps on average"
    shown.add_row(f"an epoch of {eta['steps_per_epoch']:,} steps{grows}", duration(eta["epoch_seconds"]))
    shown.add_row("its validation", duration(eta["validation_seconds"]))
    shown.add_row("the test of two checkpoints", duration(eta["test_seconds"]))
    shown.add_row(f"all {eta['epochs']} epochs", duration(eta["total_seconds"]), style="bold")
    return shown


def settings(rows: Sequence[Row]) -> Table:
    """Threads, layout, and what else differs between the settings, the fastest first."""
    table = [
        {
            "threads": str(row["threads"]),
            "layout": "channels last" if row["channels_last"] else "contiguous",
            "precision": row["precision"],
            "compile": row["compile"] or "false",
        }
        for row in rows
    ]
    varied = {name for name in SOURCES if len({row[name] for row in table}) > 1}
    headings = [name for name in SOURCES if name in varied | {"threads", "layout"}]
    shown = titled("settings", *headings, "time over the present")
    for row, texts in zip(rows, table, strict=True):
        time = f"fails: {row['error']}" if row["error"] else spread(row["over_present"])
        shown.add_row(*(texts[name] for name in headings), time)
    return shown


def titled(title: str, *headings: str) -> Table:
    """A table whose first column is text."""
    shown = Table(title=title, title_justify="left", show_header=any(headings))
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if number else "left")
    return shown


def called(name: str) -> str:
    return NAMES.get(name, name)


def milliseconds(seconds: float) -> str:
    """Three digits at least: `75.3 ms`, `4,788 ms`."""
    return f"{1000 * seconds:,.{1 if seconds < 0.1 else 0}f} ms"


def spread(ratio: Sequence[float]) -> str:
    middle, low, high = ratio
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
