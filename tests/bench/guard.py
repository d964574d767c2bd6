"""The ratios that a step must keep. `python -m tests.bench.guard` measures them again and writes ratios.json.

Never a time: ratios of steps that were taken in turn, and counts, which are exact.
"""

import json
from pathlib import Path
from typing import Any

import torch

from afdctl import recipe
from afdctl.bench.report import measure
from benchmarks import step_vs_published

COMMITTED = Path(__file__).with_name("ratios.json")
RECIPES = {
    "digits_wgan": ("attack.steps=10",),
    "mnist_wgan": ("attack.steps=10", "train.batch_size=64"),
    "digits_trades": (),
}
ROUNDS = 15
RATIOS = ("afd_over_at", "afd_over_published", "trades_over_at")


def measured(name: str) -> dict[str, Any]:
    """The medians of a recipe's ratios, and the counts of its step."""
    chosen = recipe.load(name, RECIPES[name])
    device, steps = torch.device("cpu"), chosen.attack.steps
    (row,) = measure(chosen, [steps], ROUNDS, device, try_threads=False)["steps"]
    row |= step_vs_published.measure(chosen, steps, ROUNDS, device)
    return {
        **{ratio: round(row[ratio].median, 3) for ratio in RATIOS},
        "journal_share": round(row["journal_share"], 5),
        "passes": {phase: counts["passes"] for phase, counts in row["phases"].items() if phase != "journal"},
        "flop": row["flop"],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    COMMITTED.write_text(json.dumps({name: measured(name) for name in RECIPES}, indent=2) + "\n")
