"""Show the results of analyses: tables, plots on a terminal, figures, or JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from afdctl import registry
from afdctl.cli.analyze_tables import AnalysisOfRuns, json_row, print_tables
from afdctl.cli.console import TableConsole
from afdctl.cli.output_path import OutputPath, figure_path

if TYPE_CHECKING:
    from afdctl.runs.run import Run

Row = dict[str, Any]

# they are only points in a plane, so they have no table
PLOTS = tuple(name for name, entry in registry.ANALYSES.items() if entry.points)


def show_results(results: "Sequence[tuple[Run, dict[str, Row]]]", *, as_json: bool, out: OutputPath | None) -> None:
    """Print each analysis of all runs and where its figure is; `results` has each run's rows by analysis."""
    runs, names = [run for run, _ in results], list(results[0][1])
    console = TableConsole()
    figures: dict[str, Path] = {}
    # a script that names no file gets none
    if out or (console.is_terminal and not as_json):
        from afdctl.export.figures.page import FIGURES, save_figures

        drawn = [name for name in names if name in FIGURES]
        figures = {name: figure_path(runs, name, out, alone=len(drawn) == 1) for name in drawn}
        save_figures(runs, figures)
    if as_json:
        analyses = [json_row(run.name, row) for run, rows in results for row in rows.values()]
        paths = {"figures": {name: str(path) for name, path in figures.items()}} if figures else {}
        typer.echo(json.dumps({"schema": "afdctl/1", "analyses": analyses, **paths}))
        return
    for name in names:
        rows = {run.name: rows[name] for run, rows in results}
        analysis = AnalysisOfRuns(name=name, rows=rows, runs={run.name: run for run in runs})
        print_tables(console, analysis)
        if console.is_terminal:
            from afdctl.tui.plots import draw_analysis

            for plot in draw_analysis(name, analysis.metrics, analysis.arrays, console.width):
                # not print, which would escape the plot's own colours
                console.file.write(plot)
        if name in figures:
            console.print(f"figure: {figures[name]}", soft_wrap=True)
        elif name in PLOTS:
            # in a pipe no figure is written unasked, and these have no table that would hold the result
            typer.echo(f"{name}: the plot needs a terminal or a file; add --out {name}.svg", err=True)
        console.print()
