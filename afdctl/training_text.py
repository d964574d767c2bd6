"""Parts of the lines about a training, from the rows of its journal."""

from collections.abc import Mapping
from typing import Any, Final

from afdctl.formatting import NORM_LABELS, format_count

# Queries of Square below which it does not rule out masked gradients. With 100, Square fooled none of 200 images more
# than PGD (77.5 %) where AutoAttack left 50.5 %; 500 separated checkpoints that were equal under PGD.
ENOUGH_SQUARE_QUERIES: Final = 500


def format_precisions(precisions: Mapping[str, str]) -> str:
    """Format `float32`, or `attack bf16, training float32` where they differ."""
    attack, train = precisions["attack"], precisions["train"]
    return train if attack == train else f"attack {attack}, training {train}"


def format_device(run: Mapping[str, Any]) -> str:
    """Format where a journal's first row says that the training runs: `cpu in 2 processes, attack bf16, ...`.

    float32 is named only where the recipe has `auto`.
    """
    processes, found = run.get("processes", 1), run.get("precisions")
    where = f"{run['device']} in {processes} processes" if processes > 1 else str(run["device"])
    recipe = run.get("recipe", {})
    asked = {recipe.get(table, {}).get("precision") for table in ("attack", "train")}
    # journals of earlier versions do not name it
    if not found or (set(found.values()) == {"float32"} and "auto" not in asked):
        return where
    return f"{where}, {format_precisions(found)}"


def format_square_accuracy(accuracy: object, queries: object) -> str:
    """Format the accuracy after Square that follows a PGD accuracy, with its queries; empty if Square did not run."""
    if not isinstance(accuracy, int | float):
        return ""
    if not isinstance(queries, int):
        return f", then Square {accuracy:.1%}"
    too_few = ", too few" if queries < ENOUGH_SQUARE_QUERIES else ""
    return f", then Square {accuracy:.1%} ({queries:,} queries{too_few})"


def format_probe_accuracy(accuracy: object) -> str:
    """Format the accuracy under the probe that follows that under APGD-CE, its first attack; empty without a probe."""
    return f", probe {accuracy:.1%}" if isinstance(accuracy, int | float) else ""


def format_norm_accuracies(row: Mapping[str, Any]) -> str:
    """Format the accuracies in each norm of a union, which follow that in all of them; empty without a union."""
    accuracies = {label: row.get(f"acc_{norm}") for norm, label in NORM_LABELS.items()}
    each = ", ".join(f"{label} {value:.1%}" for label, value in accuracies.items() if isinstance(value, int | float))
    return f" (each alone: {each})" if each else ""


def format_interval(epochs: int) -> str:
    """Format how often something happens, counted back from the last epoch: `after every 2 epochs`."""
    return "after every epoch" if epochs == 1 else f"after every {epochs} epochs"


def describe_probe(validation: Mapping[str, Any]) -> str:
    """Describe the probe of a recipe's [validation] table."""
    queries = f"{validation['square_queries']:,}-query Square"
    return f"APGD-CE, APGD-T on {format_count(validation['targets'], 'target')}, {queries}"


def format_probe_schedule(run: Mapping[str, Any]) -> str:
    """Format a journal's first row as a line on when the probe runs, on what and at what cost; empty without one."""
    recipe, schedule = run["recipe"], run.get("validation")
    if not schedule or recipe["train"]["checkpoint_selection"] != "probe":
        return ""
    images = format_count(min(recipe["validation"]["limit"], run["images"]["holdout"]), "held-out image")
    return (
        f"\nprobe {format_interval(schedule['interval'])}: {describe_probe(recipe['validation'])}, on {images}; "
        f"at most {schedule['share']:.1%} of the training"
    )
