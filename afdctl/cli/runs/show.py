"""`afdctl runs show`: all that is known of one run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afdctl.cli.arguments import run_names
from afdctl.cli.runs import options
from afdctl.errors import RecipeError
from afdctl.formatting import NORM_LABELS, format_bytes, format_epsilon
from afdctl.journal import format_square_accuracy

if TYPE_CHECKING:
    from rich.table import Table

    from afdctl.runs.record import Record

NAME = typer.Argument(
    metavar="[RUN]", help="A run by path or name, or - for stdin; the newest by default.", show_default=False
)
MAIN = (
    "fidelity",
    "data.holdout",
    "data.augment",
    "model.encoder",
    "model.width",
    "model.norm",
    "defense.lr_C",
    "defense.lr_D",
    "defense.lr_F",
    "defense.beta",
    "defense.weight",
    "attack.name",
    "attack.norm",
    "attack.epsilon",
    "attack.steps",
    "attack.n_fgsm_epochs",
    "attack.steps_warmup_epochs",
    "train.batch_size",
    "train.schedule",
    "train.milestones",
    "train.ema_decay",
    "train.checkpoint_selection",
    "validation.square_queries",
    "test.square_queries",
)
"""The recipe's values that matter most; `--json` has all."""
PROVENANCE = (
    "commit",
    "afdctl",
    "torch",
    "python",
    "device",
    "device_name",
    "platform",
    "threads",
    "command",
    "data_dir",
)


def show(
    name: Annotated[str, NAME] = "latest", folder: options.Folder = Path("runs"), as_json: options.Json = False
) -> None:
    """Show a run: recipe, provenance, result, checkpoints and shards (their digests are checked), attacks, analyses."""
    from afdctl.runs.record import Record
    from afdctl.runs.run import Run

    names = run_names([name])
    if len(names) > 1:
        raise RecipeError("show: one run at a time; `afdctl runs compare` takes several")
    found = _facts(Record.of(Run.find(names[0], folder)))
    if as_json:
        typer.echo(json.dumps({"schema": "afdctl/1", **found}))
    else:
        _print(found)


def _facts(record: "Record") -> dict[str, Any]:
    from afdctl.evaluation.curves import robustness_curves
    from afdctl.runs import checkpoints, removal, shards
    from afdctl.runs.checks import warnings_of
    from afdctl.runs.summary import RunSummary

    run, said = record.run, [row["message"] for row in record.of_kind("warning")]
    return {
        "run": RunSummary.of(record).as_json(),
        "recipe": record.recipe.model_dump(mode="json") if record.recipe else None,
        "provenance": run.provenance,
        "tests": record.of_kind("test"),
        "end": next(iter(record.of_kind("end")[-1:]), None),
        "warnings": list(dict.fromkeys([*said, *record.lost, *checkpoints.dangling(run)])),
        "checks": record.of_kind("check"),
        "checkpoints": [
            {
                "file": one.path.name,
                "step": one.step,
                "pointers": one.pointers,
                "intact": one.intact,
                "size": removal.size(one.path),
            }
            for one in checkpoints.listed(run)
        ],
        "attacks": [one.as_json() for one in robustness_curves(record)],
        "analyses": [
            {key: row.get(key) for key in ("name", "checkpoint", "n", "seed", "figures", "shard")}
            | {"warnings": warnings_of(row, record.checks)}
            for row in record.analyses.values()
        ],
        "shards": [{"file": name, "intact": shards.intact(run, name)} for name in record.shards],
        "disk": removal.parts(run),
    }


def _print(found: dict[str, Any]) -> None:
    from afdctl.cli.evaluation_tables import TableConsole

    run, console = found["run"], TableConsole()
    console.print(f"{run['name']}  {run['method']} on {run['dataset']}, seed {run['seed']}: {run['state']}")
    for heading, lines in (
        ("recipe", _recipe(found["recipe"])),
        ("provenance", _provenance(found)),
        ("training", _training(found)),
        ("checkpoints", _checkpoints(found["checkpoints"])),
    ):
        _section(heading, lines)
    if found["attacks"]:
        console.print(_attacks(found["attacks"]))
        _section("", _words_on_attacks(found))
    else:
        _section("attacks", [f"none; afdctl sweep {run['path']} carries them out"])
    _section("analyses", _analyses(found["analyses"], run["path"]))
    damaged = [one["file"] for one in found["shards"] if not one["intact"]]
    sizes = ", ".join(f"{part} {format_bytes(size)}" for part, size in found["disk"].items() if size)
    whole = format_bytes(run["size"])
    _section("on disk", [f"{whole}: {sizes}", *(f"DAMAGED or missing: shards/{one}" for one in damaged)])


def _section(heading: str, lines: Iterable[str]) -> None:
    for place, line in enumerate(lines):
        typer.echo(f"{heading if place == 0 else '':<13}{line}")


def _recipe(recipe: dict[str, Any] | None) -> list[str]:
    from afdctl.runs.diff import flattened

    if recipe is None:
        return ["none: a model of one's own, measured only"]
    values = flattened(recipe)
    words = [f"{key} = {options.value_in_words(values[key])}" for key in MAIN if values.get(key) is not None]
    return [", ".join(words[place : place + 4]) for place in range(0, len(words), 4)]


def _provenance(found: dict[str, Any]) -> list[str]:
    known = found["provenance"]
    times = f"{options.minute(found['run']['started'])} to {options.minute(found['run']['written'])}"
    return [times, *(f"{key} {known[key]}" for key in PROVENANCE if known.get(key) not in (None, ""))]


def _training(found: dict[str, Any]) -> list[str]:
    run = found["run"]
    lines = [f"epoch {run['epoch']} of {run['epochs']}"] if run["epoch"] is not None else ["no epoch"]
    if run["split"] == "validation":
        robust = f"PGD {run['pgd']:.1%}{format_square_accuracy(run['square'])} (no AutoAttack)"
        lines.append(f"hold-out: clean {run['clean']:.1%}, {robust}")
    for row in found["tests"]:
        lines.append(
            f"{row['checkpoint']} checkpoint (step {row['of_step']:,}): clean {row['acc_nat']:.1%}, {row['attack']} "
            f"{row['acc_adv']:.1%}{format_square_accuracy(row.get('acc_square'))} (no AutoAttack), {row['n']:,} test images"
        )
    end = found["end"]
    if end and end["message"]:
        lines.append(f"{end['reason']}: {end['message']}")
    return [*lines, *(f"warning: {message}" for message in found["warnings"])]


def _checkpoints(found: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['file']}  {format_bytes(one['size'])}  {'intact' if one['intact'] else 'DAMAGED or missing'}"
        f"  {' '.join(one['pointers'])}".rstrip()
        for one in found
    ] or ["none"]


def _attacks(found: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table()
    for heading in ("attack", "norm", "n", "accuracy (%) at epsilon", "AUC"):
        table.add_column(heading, justify="right" if heading in ("n", "AUC") else "left")
    for one in found:
        pairs = zip(one["epsilons"], one["accuracies"], strict=True)
        accuracies = "  ".join(f"{format_epsilon(epsilon)}: {options.percent(accuracy)}" for epsilon, accuracy in pairs)
        table.add_row(_title(one), NORM_LABELS[one["norm"]], f"{one['n']:,}", accuracies, f"{one['auc']:.3f}")
    return table


def _title(attack: dict[str, Any]) -> str:
    return f"{attack['attack']} from {attack['source']}" if attack["source"] else attack["attack"]


def _words_on_attacks(found: dict[str, Any]) -> list[str]:
    """What else a reader must know of the table."""
    from afdctl.evaluation.statistics import other_grids

    best = {one["file"].split("-")[-1][:16] for one in found["checkpoints"] if "best" in one["pointers"]}
    lines = []
    if not any(one["autoattack"] and one["source"] is None for one in found["attacks"]):
        lines.append("No AutoAttack: robust accuracy may be lower.")
    if best and any(one["checkpoint"][:16] not in best for one in found["attacks"]):
        lines.append("Some were measured on another checkpoint than `best`.")
    for norm in dict.fromkeys(one["norm"] for one in found["attacks"]):
        grids = [(_title(one), one["epsilons"]) for one in found["attacks"] if one["norm"] == norm]
        if unlike := other_grids(grids):
            lines.append(f"{NORM_LABELS[norm]}: {unlike}")
    warnings = dict.fromkeys(line for one in found["attacks"] for line in one["warnings"])
    return [*lines, *(f"warning: {line}" for line in warnings)]


def _analyses(found: list[dict[str, Any]], path: str) -> list[str]:
    if not found:
        return [f"none; afdctl analyze {path} makes them"]
    warnings = dict.fromkeys(line for one in found for line in one["warnings"])
    return [*(f"{one['name']}  n {one['n']:,}" for one in found), *(f"warning: {line}" for line in warnings)]
