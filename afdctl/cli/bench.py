"""`afdctl bench`: measure what a recipe costs on this machine."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl import registry
from afdctl.cli import output_path
from afdctl.cli.options import RECIPE, SET
from afdctl.cli.process import exit_on_interrupt
from afdctl.formatting import format_count, format_duration, format_estimate
from afdctl.training_text import format_interval, format_precisions

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]

ATTACK_STEPS = typer.Option(
    min=1, max=10**6, help="Measure with N attack steps; repeatable. By default the recipe's.", metavar="N"
)
# quartiles need at least two rounds
ROUNDS = typer.Option(min=2, max=10**6, help="Number of times each step is measured, in turn.")
TRACE = output_path.option("--profile", metavar="FILE.json", help="Also trace two steps; print the top operators.")
DEVICE = typer.Option(help="auto, cpu, cuda, cuda:N or mps.")
JSON = typer.Option("--json", help="One JSON object instead of a table.")


def bench(
    recipe: Annotated[str, RECIPE],
    overrides: Annotated[list[str] | None, SET] = None,
    attack_steps: Annotated[list[int] | None, ATTACK_STEPS] = None,
    rounds: Annotated[int, ROUNDS] = 9,
    trace: Annotated[output_path.OutputPath | None, TRACE] = None,
    device: Annotated[str, DEVICE] = "auto",
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Compare a recipe's training step with those of AFD, AT and TRADES, and estimate the time of the whole training.

    Steps run in turn in one process, on random images. A ratio is the median over rounds, with its quartiles.
    """
    from afdctl import recipe as recipes

    # a mistake is reported before torch is imported and anything is measured
    chosen = recipes.load(recipe, overrides or [])
    if trace:
        trace.check()
    # hides the messages of the profiler itself
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    with exit_on_interrupt():
        from afdctl.bench.report import measure
        from afdctl.training.setup import choose_device

    torch_device = choose_device(device)
    report = measure(chosen, attack_steps or [chosen.attack.steps], rounds, torch_device)
    typer.echo(json.dumps(report)) if as_json else print_report(report)
    if trace:
        # after the measurement, because tracing slows the step down
        from afdctl.bench.step_time import write_trace

        path = trace.file("trace.json")
        typer.echo(write_trace(chosen, torch_device, path), err=True)
        typer.echo(f"{path}: open it at https://ui.perfetto.dev", err=True)


def print_report(report: Row) -> None:
    """Print all tables on stdout."""
    # imported here because `afdctl --help` starts faster without rich
    from afdctl.cli.console import TableConsole

    console = TableConsole()
    for row in report["steps"]:
        for table in (phase_table(report, row), roofline_table(report, row), ratio_table(row)):
            console.print(table)
    if report["compilation"]:
        console.print(format_compilation(report["compilation"], report["eta"]), soft_wrap=True)
    console.print(recipe_time_table(report["eta"]))
    if report["thread_counts"]:
        console.print(thread_table(report["thread_counts"]))
        console.print("Set OMP_NUM_THREADS to change the thread count; a resumed run keeps its own.", soft_wrap=True)


def phase_table(report: Row, row: Row) -> "Table":
    """Show the cost of each phase of the step, by count and by time."""
    attack = f"{row['attack_steps']} attack steps" if row["phases"]["attack"]["flop"] else "no attack"
    title = (
        f"{display_name(report['defense'])}, one step at batch {report['batch_size']}: {attack}, {report['device']}, "
        f"threads: {report['threads']}, {format_precisions(report['precisions'])}"
    )
    title += f", compiled ({report['compile']}); shares of time: eager" if report["compile"] else ""
    table = make_table(title, "phase", "passes", "by FLOP", "GFLOP", "predicted", "of the time")
    for name, phase in row["phases"].items():
        # it has no passes or FLOP to count, only a share of the time
        if phase["passes"] is None:
            table.add_row(name, "", "", "", "", f"{phase['share']:.2%}")
            continue
        counts = str(phase["passes"]), f"{phase['flop_passes']:.2f}", f"{phase['flop'] / 1e9:.4g}"
        table.add_row(name, *counts, f"{phase['predicted']:.1%}", f"{phase['share']:.1%}")
    counted = [phase for phase in row["phases"].values() if phase["passes"] is not None]
    passes, flop_passes = (sum(phase[key] for phase in counted) for key in ("passes", "flop_passes"))
    table.add_section()
    table.add_row("all", str(passes), f"{flop_passes:.2f}", f"{row['flop'] / 1e9:.4g}", "", "")
    return table


def roofline_table(report: Row, row: Row) -> "Table":
    """Show the device's peak rates, the minimum time of a step that they imply, and the measured time."""
    table = make_table("roofline", "", "")
    step_seconds = row[f"{report['defense']}_seconds"]
    lines = {
        **{
            f"matrix product, {dtype}": f"{rate / 1e9:.4g} GFLOP/s" for dtype, rate in row["product_flop_per_s"].items()
        },
        "copy": f"{row['copy_bytes_per_s'] / 1e9:.4g} GB/s",
        "bytes of products and convolutions": f"{row['bytes'] / 1e6:.4g} MB",
        "bytes of all operations, unfused": f"{row['bytes_unfused'] / 1e6:.4g} MB",
        "minimum time of a step": milliseconds(row["floor_seconds"]),
        "measured step": milliseconds(step_seconds),
        "FLOP/s of the step": f"{row['flop'] / step_seconds / 1e9:.4g} GFLOP/s",
        "model FLOP utilisation": format_share(row["utilisation"]),
        "minimum over measured": format_share(row["floor_over_step"]),
        "peak memory": f"{row['peak_bytes'] / 1e6:.4g} MB",
    }
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def ratio_table(row: Row) -> "Table":
    """Show the time of each defense's step, and their ratios."""
    table = make_table("measured in turn", "step", "time", "ratio")
    for key, value in row.items():
        if key.endswith("_seconds") and key != "floor_seconds":
            table.add_row(display_name(key.removesuffix("_seconds")), milliseconds(value), "")
    table.add_section()
    for key, value in row.items():
        if "_over_" in key and key != "floor_over_step":
            table.add_row(" / ".join(map(display_name, key.split("_over_"))), "", format_ratio(value))
    table.add_row("journal + HDF5", "", f"{row['journal_share']:.2%}")
    return table


def recipe_time_table(eta: Row | None) -> "Table":
    """Show the time that the whole recipe takes."""
    table = make_table("whole recipe", "", "")
    if eta is None:
        table.add_row("time", "unknown: depends on the number of your images")
        return table
    mean = "" if float(eta["attack_steps"]).is_integer() else f", {eta['attack_steps']:.1f} attack steps on average"
    steps = format_count(eta["steps_per_epoch"], "step")
    table.add_row(f"epoch of {steps}{mean}", format_estimate(eta["epoch_seconds"]))
    often = f"{format_interval(eta['validation_interval'])}, {eta['validation_share']:.1%} of all passes"
    table.add_row(f"validation {often}", format_estimate(eta["validation_seconds"]))
    table.add_row("test of two checkpoints", format_estimate(eta["test_seconds"]))
    table.add_row(f"all {format_count(eta['epochs'], 'epoch')}", format_estimate(eta["total_seconds"]), style="bold")
    return table


def format_compilation(row: Row, eta: Row | None) -> str:
    """Say what compilation costs and when it pays."""
    start = f"torch.compile: {format_duration(row['start_up_seconds'])} before the first step, then"
    line = f"{start} {format_ratio(row['compiled_over_eager'])} of an eager step's time"
    if row["pays_after_steps"] is None:
        return f"{line}. It does not pay: set train.compile = false."
    total = f" of {eta['epochs'] * eta['steps_per_epoch']:,}" if eta else ""
    return f"{line}. It pays after {row['pays_after_steps']:,} steps{total}."


def thread_table(rows: Sequence[Row]) -> "Table":
    """Show the step's time at each thread count, fastest first."""
    table = make_table("thread counts", "threads", "time over the current count")
    for row in rows:
        table.add_row(str(row["threads"]), format_ratio(row["over_current"]))
    return table


def make_table(title: str, *headings: str) -> "Table":
    """Make a table with text in its first column and numbers in the others."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def display_name(defense: str) -> str:
    labels = {entry.short or name: entry.label for name, entry in registry.DEFENSES.items()}
    return labels.get(defense, defense)


def milliseconds(seconds: float) -> str:
    """Format seconds with at least three digits: `75.3 ms`, `4,788 ms`."""
    return f"{1000 * seconds:,.{1 if seconds < 0.1 else 0}f} ms"


def format_share(share: float | None) -> str:
    """Format a share of the device's peak; None is one that the busy machine made impossible to measure."""
    return "unknown: machine busy, run again" if share is None else f"{share:.1%}"


def format_ratio(ratio: Sequence[float]) -> str:
    middle, low, high = ratio
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
