"""`afdctl runs compare`: differences between runs, their results side by side, and tests on the same images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from afdctl.cli import options
from afdctl.errors import RecipeError
from afdctl.formatting import NORM_LABELS, format_epsilon, format_images, format_percent, format_value

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.runs.curves import RobustnessCurve
    from afdctl.runs.paired import PairedTest
    from afdctl.runs.record import Record

RUNS = typer.Argument(metavar="RUN...", help="Runs by path or name, `latest`, `model:NAME`, or `-` for paths on stdin.")
ALL = typer.Option("--all", help="Also show what is equal in all runs.")
ENVIRONMENT: Final = ("afdctl", "commit", "torch", "device", "device_name", "threads", "data_digest")
PAIRED_NOTE: Final = (
    "only A, only B: images that remain robust in that run alone. p: exact McNemar test, two-sided, not corrected for "
    "the number of tests."
)


class Measured(NamedTuple):
    """An accuracy, or with another `format` an area or metric, and the number of images that it was measured on."""

    value: float
    n: int | None
    format: str = ".1%"


def compare(
    names: Annotated[list[str], RUNS],
    everything: Annotated[bool, ALL] = False,
    folder: options.Runs = Path("runs"),
    as_json: options.Json = False,
) -> None:
    """Compare runs: recipes, environments and results that differ, and tests on the images that two runs share."""
    from afdctl.runs.provenance import aligned, differing_keys
    from afdctl.runs.record import Record

    runs = options.distinct_runs(options.find_run(name, folder) for name in options.run_names(names))
    if len(runs) < 2:
        raise RecipeError("compare: name at least two runs; `afdctl runs show` shows one")
    records = [Record.of(run) for run in runs]
    select = aligned if everything else differing_keys
    parts = {
        "recipe": select([record.recipe.model_dump(mode="json") if record.recipe else {} for record in records]),
        "environment": select([environment(record) for record in records]),
        "results": select([results(record) for record in records]),
    }
    from afdctl.runs.paired import paired_tests

    tests = [test for first, second in combinations(records, 2) for test in paired_tests(first, second)]
    if as_json:
        listed = [{"name": run.name, "path": str(run.path)} for run in runs]
        found = {"paired": [asdict(test) for test in tests]}
        typer.echo(
            json.dumps({"schema": "afdctl/1", "runs": listed, **parts, **_json_results(parts["results"]), **found})
        )
    else:
        _print([run.name for run in runs], parts, tests)


def environment(record: "Record") -> dict[str, Any]:
    """Return what a run's results may depend on besides its recipe, the precisions that `auto` chose included."""
    from afdctl.runs.provenance import precisions_of

    provenance = record.run.provenance
    facts = {key: provenance.get(key) for key in ENVIRONMENT}
    return facts | ({"precision": precisions_of(provenance, record.recipe)} if record.recipe else {})


def results(record: "Record") -> dict[str, Any]:
    """Return a run's results by name: accuracies, areas under curves, and the metrics of its analyses.

    Those of a checkpoint other than `best` have its name.
    """
    from afdctl.runs.summary import RunSummary

    run = RunSummary.of(record)
    values: dict[str, Any] = {"state": run.state, "epoch": run.epoch}
    if run.clean is not None:
        values[f"clean ({run.split})"] = Measured(run.clean, run.clean_n)
    if run.pgd_attack and run.pgd is not None:
        values[f"{run.pgd_attack} ({run.split}, no AutoAttack)"] = Measured(run.pgd, run.pgd_n)
    if run.square is not None:
        queries = f" of {run.square_queries:,} queries" if run.square_queries else ""
        values[f"then Square{queries} ({run.split}, no AutoAttack)"] = Measured(run.square, run.pgd_n)
    if run.probe is not None:
        values[f"probe ({run.split}, no AutoAttack)"] = Measured(run.probe, run.pgd_n)
    for curves in (record.curves, *record.other_curves.values()):
        for curve in curves.values():
            values |= _curve_results(curve, _suffix(record, curve.checkpoint))
    for analyses in (record.analyses, *record.other_analyses.values()):
        for row in analyses.values():
            values |= _analysis_results(row, _suffix(record, row["checkpoint"]))
    if run.warnings:
        values["warnings"] = "; ".join(run.warnings)
    return values


def _suffix(record: "Record", digest: str) -> str:
    """Return `, last`, or the start of a digest, for results of another checkpoint than `best`; else empty."""
    from afdctl.runs.selection import checkpoint_digests, checkpoint_name

    name = checkpoint_name(record.rows, digest)
    # a custom model has one network, and no checkpoints
    return "" if name == "best" or not checkpoint_digests(record.rows) else f", {name}"


def _curve_results(curve: "RobustnessCurve", suffix: str) -> dict[str, Any]:
    accuracies = {epsilon: accuracy for epsilon, accuracy in curve.by_epsilon().items() if epsilon}
    values = {
        f"{curve.title} {curve.norm} {epsilon:.4g}{suffix}": Measured(accuracy, curve.n)
        for epsilon, accuracy in accuracies.items()
    }
    # areas over different grids cannot be compared, so each grid has its row
    grid = " ".join(map(format_epsilon, curve.epsilons))
    return values | {f"{curve.title} AUC over {grid}{suffix}": Measured(curve.auc, curve.n, ".3f")}


def _analysis_results(row: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    from afdctl.runs.provenance import flattened

    metrics = flattened(row["metrics"]).items()
    name = row["name"]
    return {
        f"{name} {key}{suffix}": Measured(value, row["n"], ".4g")
        for key, value in metrics
        if isinstance(value, int | float)
    }


def _json_results(rows: Mapping[str, list[Any]]) -> dict[str, dict[str, list[Any]]]:
    """Return the values of all results, and under the same names their numbers of images."""
    counts = {
        key: [value.n if isinstance(value, Measured) else None for value in values]
        for key, values in rows.items()
        if any(isinstance(value, Measured) for value in values)
    }
    values = {
        key: [value.value if isinstance(value, Measured) else value for value in values] for key, values in rows.items()
    }
    return {"results": values, "images": counts}


def _print(names: list[str], parts: Mapping[str, dict[str, list[Any]]], tests: "Sequence[PairedTest]") -> None:
    from rich.table import Table

    from afdctl.cli.console import TableConsole

    console = TableConsole()
    for part, rows in parts.items():
        if not rows:
            console.print(f"{part}: equal")
            continue
        table = Table(title=part, title_justify="left")
        # names of results are long, and must not take the room of the values
        table.add_column("", overflow="fold")
        for name in names:
            table.add_column(name, justify="right" if part == "results" else "left", overflow="fold")
        several = len({n for values in rows.values() for n in _counts(values)}) > 1
        for key, values in rows.items():
            counts = _counts(values)
            n = f" (n={format_images(min(counts))})" if several and len(counts) == 1 else ""
            label = " ".join(NORM_LABELS.get(word, word) for word in key.split(" "))
            table.add_row(label + n, *_cells(values))
        console.print(table)
    if not tests:
        console.print("same images: no attack was measured at the same epsilon in two of the runs")
    for pair in dict.fromkeys(test.runs for test in tests):
        of_pair = [test for test in tests if test.runs == pair]
        if tested := [test for test in of_pair if test.reason is None]:
            console.print(_paired_table(pair, tested))
        for line in _untested(of_pair):
            console.print(line, soft_wrap=True)
    if any(test.reason is None for test in tests):
        console.print(PAIRED_NOTE, soft_wrap=True)


def _counts(values: Sequence[Any]) -> set[int]:
    """Return the numbers of images of a row's results."""
    return {value.n for value in values if isinstance(value, Measured) and value.n is not None}


def _cells(values: Sequence[Any]) -> list[str]:
    """Format a row's values; those of results have their numbers of images where these differ."""
    counts, texts = _counts(values), []
    for value in values:
        if isinstance(value, Measured):
            n = f" n={format_images(value.n)}" if len(counts) > 1 and value.n is not None else ""
            texts.append(f"{value.value:{value.format}}{n}")
        else:
            texts.append(format_value(value))
    return texts


def _paired_table(pair: tuple[str, str], tests: "Sequence[PairedTest]") -> "Table":
    """Tabulate the tests of two runs: accuracies in percent on the shared images."""
    from rich.table import Table

    from afdctl.runs.paired import format_p

    table = Table(title=f"same images: A = {pair[0]}, B = {pair[1]}", title_justify="left")
    for heading in ("attack", "ε", "images", "A %", "B %", "only A", "only B", "p"):
        table.add_column(heading, justify="left" if heading == "attack" else "right", no_wrap=heading != "attack")
    for test in tests:
        assert test.accuracies is not None
        assert test.n is not None
        assert test.p is not None
        numbers = [f"{test.n:,}", *map(format_percent, test.accuracies), str(test.only_first), str(test.only_second)]
        p = format_p(test.p).removeprefix("p = ").removeprefix("p ")
        table.add_row(_attack_text(test), format_epsilon(test.epsilon), *numbers, p)
    return table


def _attack_text(test: "PairedTest") -> str:
    """Format `aa L∞`, with the source of a transfer and with the checkpoints unless both are `best`."""
    from afdctl.runs.checkpoints import POINTERS

    source, names = f" from {test.source}" if test.source else "", dict.fromkeys(test.checkpoints)
    # a custom model's only network has a digest for a name, which says nothing beside that of another one
    shown = names.keys() != {"best"} and not names.keys().isdisjoint(POINTERS)
    different = f" ({' and '.join(names)})" if shown else ""
    return f"{test.attack}{source} {NORM_LABELS[test.norm]}{different}"


def _untested(tests: "Sequence[PairedTest]") -> Iterator[str]:
    """Yield a line for each reason why attacks of two runs were not tested."""
    by_reason: dict[str, dict[str, None]] = {}
    for test in tests:
        if test.reason:
            by_reason.setdefault(test.reason, {})[_attack_text(test)] = None
    for reason, attacks in by_reason.items():
        first, second = tests[0].runs
        yield f"{first} and {second} not tested under {', '.join(attacks)}: {reason}."
