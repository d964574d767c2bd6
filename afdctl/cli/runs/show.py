"""`afdctl runs show`: all that is known of one run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from afdctl.cli import options
from afdctl.cli.options import find_run, run_names
from afdctl.errors import RecipeError
from afdctl.formatting import (
    NORM_LABELS,
    format_bytes,
    format_count,
    format_epsilon,
    format_minute,
    format_percent,
    format_value,
)
from afdctl.image_counts import describe_images, format_subset
from afdctl.training_text import describe_probe, format_norm_accuracies, format_probe_accuracy, format_square_accuracy

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.recipe import Recipe
    from afdctl.runs.record import Record

NAME = typer.Argument(
    metavar="[RUN]",
    help="By path, name or `model:NAME`, or - for stdin; the newest by default.",
    show_default=False,
)
# The values of a recipe that matter most, printed unless they leave off what is off by default; --json has all.
MAIN_KEYS: Final = (
    "fidelity",
    *("data.holdout", "data.train_limit", "data.extra", "data.extra_share"),
    *("data.augment", "data.random_erasing", "data.cutmix"),
    *("model.encoder", "model.width", "model.norm", "model.weights", "train.freeze"),
    *("defense.game", "defense.classify", "defense.batch_statistics", "defense.lr_C", "defense.lr_D", "defense.lr_F"),
    *("defense.weight_decay_C", "defense.beta", "defense.weight", "defense.label_smoothing", "defense.awp_gamma"),
    *("attack.name", "attack.norm", "attack.epsilon", "attack.epsilon_warmup_epochs"),
    *("attack.steps", "attack.n_fgsm_epochs", "attack.steps_warmup_epochs"),
    *("train.epochs", "train.batch_size", "train.schedule", "train.warmup_fraction", "train.milestones"),
    "train.ema_decay",
    "train.checkpoint_selection",
    *("test.step_size", "test.square_queries"),
)
PROVENANCE: Final = (
    *("commit", "afdctl", "torch", "timm", "python"),
    *("device", "device_name", "platform", "processes", "threads", "precisions"),
    *("command", "data_dir"),
)
VALUES_PER_LINE: Final = 4


def show(
    name: Annotated[str, NAME] = "latest", folder: options.Runs = Path("runs"), as_json: options.Json = False
) -> None:
    """Show a run: recipe, provenance, results, attacks, analyses, and files with their digests verified."""
    from afdctl.runs.record import Record

    names = run_names([name])
    if len(names) > 1:
        raise RecipeError("show: one run at a time; `afdctl runs compare` takes several")
    record = Record.of(find_run(names[0], folder))
    content = _content(record)
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", **content}))
    else:
        _print(content, record.recipe)


def _content(record: "Record") -> dict[str, Any]:
    """Collect what --json prints."""
    from afdctl.runs import checkpoints, shards
    from afdctl.runs.files import size_on_disk
    from afdctl.runs.selection import checkpoint_name, warnings_of
    from afdctl.runs.summary import RunSummary

    run, messages = record.run, [row["message"] for row in record.of_kind("warning")]
    return {
        "run": RunSummary.of(record).as_json(),
        "recipe": record.recipe.model_dump(mode="json") if record.recipe else None,
        "provenance": run.provenance,
        "tests": record.of_kind("test"),
        "alarms": record.of_kind("alarm"),
        "end": next(iter(record.of_kind("end")[-1:]), None),
        # a resumed training logs some warnings again
        "warnings": list(dict.fromkeys([*messages, *record.lost, *checkpoints.dangling_pointers(run)])),
        "checks": record.of_kind("sanity_check"),
        "checkpoints": [
            {
                "file": checkpoint.path.name,
                "step": checkpoint.step,
                "pointers": checkpoint.pointers,
                # reads the whole file to verify its digest
                "intact": checkpoint.intact,
                "size": size_on_disk(checkpoint.path),
            }
            for checkpoint in checkpoints.list_checkpoints(run)
        ],
        "attacks": [
            curve.as_json() | {"checkpoint_name": checkpoint_name(record.rows, curve.checkpoint)}
            for curves in (record.curves, *record.other_curves.values())
            for curve in curves.values()
        ],
        "analyses": [
            {key: row.get(key) for key in ("name", "checkpoint", "subset", "n", "split_n", "seed", "metrics", "shard")}
            | {"checkpoint_name": checkpoint_name(record.rows, row["checkpoint"])}
            | {"warnings": warnings_of(row, record.checks)}
            for analyses in (record.analyses, *record.other_analyses.values())
            for row in analyses.values()
        ],
        "shards": [{"file": shard, "intact": shards.intact(run, shard)} for shard in record.shards],
        "disk": {
            path.name: size_on_disk(path)
            for path in (run.checkpoints, run.shards, run.results_path, run.journal_path, run.log_path)
        },
    }


def _print(content: dict[str, Any], recipe: "Recipe | None") -> None:
    from afdctl.cli.console import TableConsole

    run, console = content["run"], TableConsole()
    console.print(f"{run['name']}  {run['method']} on {run['dataset']}, seed {run['seed']}: {run['state']}")
    _print_section("recipe", _recipe_lines(recipe))
    _print_section("provenance", _provenance_lines(content))
    _print_section("training", _training_lines(content))
    _print_section("checkpoints", _checkpoint_lines(content["checkpoints"]))
    if content["attacks"]:
        console.print(_attack_table(content["attacks"]))
        _print_section("", _attack_notes(content))
    else:
        _print_section("attacks", [f"none yet; run `afdctl sweep {run['path']}`"])
    _print_section("analyses", _analysis_lines(content["analyses"], run["path"]))
    sizes = ", ".join(f"{part} {format_bytes(size)}" for part, size in content["disk"].items() if size)
    damaged = [shard["file"] for shard in content["shards"] if not shard["intact"]]
    total = format_bytes(run["size"])
    _print_section("on disk", [f"{total}: {sizes}", *(f"DAMAGED or missing: shards/{file}" for file in damaged)])


def _print_section(heading: str, lines: Iterable[str]) -> None:
    # printed without the console, which would wrap a path or digest that is to be copied
    for number, line in enumerate(lines):
        typer.echo(f"{heading if number == 0 else '':<13}{line}")


def _recipe_lines(recipe: "Recipe | None") -> list[str]:
    from afdctl.runs.provenance import flattened, has_effect

    if recipe is None:
        return ["none: a custom model, which is only evaluated"]
    values = flattened(recipe.model_dump(mode="json"))
    texts = [f"{key} = {format_value(values[key])}" for key in MAIN_KEYS if has_effect(recipe, key)]
    return [", ".join(texts[first : first + VALUES_PER_LINE]) for first in range(0, len(texts), VALUES_PER_LINE)]


def _provenance_lines(content: dict[str, Any]) -> list[str]:
    from afdctl.runs.provenance import in_words

    run, provenance = content["run"], in_words(content["provenance"])
    until = run["trained_until"] or run["written"]
    times = [f"{format_minute(run['started'])} to {format_minute(until)}"] if until else []
    return [*times, *(f"{key} {provenance[key]}" for key in PROVENANCE if provenance.get(key) not in (None, ""))]


def _training_lines(content: dict[str, Any]) -> list[str]:
    from afdctl.runs.alarms import format_alarms

    run = content["run"]
    lines = [f"epoch {run['epoch']} of {run['epochs']}"] if run["epoch"] is not None else ["no epoch"]
    if run["split"] == "validation":
        probe = format_probe_accuracy(run["probe"])
        images = "" if run["pgd_n"] is None else f", {format_count(run['pgd_n'], 'image')}"
        lines.append(f"hold-out: clean {run['clean']:.1%}, APGD-CE {run['pgd']:.1%}{probe} (no AutoAttack){images}")
        if probe:
            lines.append(f"probe: {describe_probe(content['recipe']['validation'])}")
    for row in content["tests"]:
        square = format_square_accuracy(row.get("acc_square"), row.get("square_queries"))
        lines.append(
            f"{row['checkpoint']} checkpoint (step {row['checkpoint_step']:,}): clean {row['acc_nat']:.1%}, "
            f"{row['attack']} {row['acc_adv']:.1%}{square}{format_norm_accuracies(row)} (no AutoAttack), "
            f"{describe_images([row])}"
        )
    end = content["end"]
    if end and end["message"]:
        lines.append(f"{end['reason']}: {end['message']}")
    return [*lines, *format_alarms(content["alarms"]), *(f"warning: {message}" for message in content["warnings"])]


def _checkpoint_lines(checkpoints: list[dict[str, Any]]) -> list[str]:
    return [
        f"{checkpoint['file']}  {format_bytes(checkpoint['size'])}  "
        f"{'intact' if checkpoint['intact'] else 'DAMAGED or missing'}  {' '.join(checkpoint['pointers'])}".rstrip()
        for checkpoint in checkpoints
    ] or ["none"]


def _attack_table(curves: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    from afdctl.runs.checkpoints import POINTERS

    table = Table()
    # the names of a custom model's checkpoints are digests, which say nothing
    named = any(curve["checkpoint_name"] in POINTERS for curve in curves)
    headings = ("attack", *(["checkpoint"] if named else []), "norm", "n", "accuracy (%) at epsilon", "AUC")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("n", "AUC") else "left")
    for curve in curves:
        pairs = zip(curve["epsilons"], curve["accuracies"], strict=True)
        accuracies = "  ".join(f"{format_epsilon(epsilon)}: {format_percent(accuracy)}" for epsilon, accuracy in pairs)
        checkpoint = [curve["checkpoint_name"]] if named else []
        n, area = format_subset(curve), f"{curve['auc']:.3f}"
        table.add_row(_title(curve), *checkpoint, NORM_LABELS[curve["norm"]], n, accuracies, area)
    return table


def _title(curve: dict[str, Any]) -> str:
    return f"{curve['attack']} from {curve['source']}" if curve["source"] else curve["attack"]


def _attack_notes(content: dict[str, Any]) -> list[str]:
    """Return what a reader must know about the table of attacks."""
    from afdctl.runs.curves import describe_mixed_grids

    curves, lines = content["attacks"], []
    names = {curve["checkpoint_name"]: None for curve in curves}
    # images made on another run are no test of this one's worst case
    with_aa = {curve["checkpoint_name"] for curve in curves if curve["autoattack"] and curve["source"] is None}
    if without := [name for name in names if name not in with_aa]:
        where = f" on {' and '.join(without)}" if with_aa else ""
        lines.append(f"No AutoAttack{where}: robust accuracy may be lower.")
    for norm in dict.fromkeys(curve["norm"] for curve in curves):
        grids = [(_title(curve), curve["epsilons"]) for curve in curves if curve["norm"] == norm]
        if difference := describe_mixed_grids(grids):
            lines.append(f"{NORM_LABELS[norm]}: {difference}")
    warnings = dict.fromkeys(line for curve in curves for line in curve["warnings"])
    return [*lines, *(f"warning: {line}" for line in warnings)]


def _analysis_lines(analyses: list[dict[str, Any]], path: str) -> list[str]:
    if not analyses:
        return [f"none yet; run `afdctl analyze {path}`"]
    warnings = dict.fromkeys(line for analysis in analyses for line in analysis["warnings"])
    lines = [f"{analysis['name']}  n {analysis['n']:,}  {analysis['checkpoint_name']}" for analysis in analyses]
    return [*lines, *(f"warning: {line}" for line in warnings)]
