"""From a recipe, or from a run on disk, to a training."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from afdctl import __version__, data, recipe
from afdctl.data import Dataset
from afdctl.errors import CorruptError, RecipeError
from afdctl.journal import Journal, JournalOutline
from afdctl.recipe import Recipe
from afdctl.recipe.schema import Data
from afdctl.runs import checkpoints
from afdctl.runs.lost_rows import RecordedProgress
from afdctl.runs.run import Run
from afdctl.training.trainer import Trainer, naming_remedies

OnLine = Callable[[str], None]


def ignore_line() -> None:
    """Do nothing."""


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, else Apple's MPS, else the CPU."""
    present = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    present += [*(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    chosen = {"auto": present[0], "cuda": "cuda:0"}.get(name, name)
    if chosen not in present:
        raise RecipeError(f"--device {name}: not on this machine; it has: {', '.join(present)}")
    return torch.device(chosen)


def start(
    chosen: Recipe,
    run: Run,
    journal: Journal,
    *,
    device: torch.device,
    data_dir: Path | None,
    on_line: OnLine,
    on_begin: Callable[[], None] = ignore_line,
) -> None:
    """Train the recipe to its end in a run that was begun with `Run.begin`.

    `on_line` sees each line of the journal; `on_begin` is called when the run can be resumed.
    """
    journal.on_line = on_line
    with naming_remedies():
        source = data.load(chosen.data, data_dir)
        run.write_recipe(recipe.dump(chosen))
        trainer = Trainer(run, chosen, source, device, journal)
        with trainer.session():
            trainer.announce(provenance(chosen, source, device, data_dir))
            on_begin()
            trainer.train()


def provenance(
    chosen: Recipe, source: Dataset, device: torch.device, data_dir: Path | None, **more: Any
) -> dict[str, Any]:
    """What run.json holds of a run of the recipe, with whatever `more` it has."""
    return {
        "data_digest": source.digest,
        "data_dir": str(data.roots(chosen.data, data_dir)[0].resolve()),
        "seed": chosen.seed,
        **environment(device),
        **more,
    }


def resume(
    run: Run, *, device: str | None, data_dir: Path | None, on_line: OnLine, on_begin: Callable[[], None] = ignore_line
) -> Run:
    """Go on from the run's last good checkpoint, as if it had never stopped; `on_begin` is called when it does."""
    if run.kind != "trained":
        raise RecipeError(f"{run.path}: its model was not trained here, so there is no training to go on with")
    chosen = recipe.loads(run.recipe_text)
    with run.open_journal() as journal, naming_remedies():
        journal.on_line = on_line
        source = source_of(run, chosen.data, data_dir)
        # sums of floats depend on the number of threads
        torch.set_num_threads(run.provenance["threads"])
        trainer = Trainer(run, chosen, source, _device(run, device), journal)
        loaded = checkpoints.load(run, "last")
        with checkpoints.fitting(loaded):
            trainer.load_state_dict(loaded.state)
        recorded = RecordedProgress.of(run, loaded.step, loaded.epoch)
        outline = JournalOutline(run.journal_path)
        warnings = [*loaded.warnings, *recorded.gaps(outline)]
        warnings += checkpoints.repair_best(run, outline.rows, loaded.step)
        with trainer.session():
            journal.append("resume", step=loaded.step, epoch=loaded.epoch, **trainer.totals())
            for warning in warnings:
                journal.append("warning", step=loaded.step, message=warning)
            on_begin()
            trainer.train()
    return run


def source_of(run: Run, table: Data, data_dir: Path | None) -> Dataset:
    """The run's data set, from --data-dir, or from where it was when the run began; CorruptError for other images."""
    source = data.load(table, data_dir, Path(run.provenance["data_dir"]))
    if source.digest != run.provenance["data_digest"]:
        raise CorruptError(
            f"{run.path}: the data are not those that this run began with; name their folder with --data-dir"
        )
    return source


def _device(run: Run, wanted: str | None) -> torch.device:
    """The run's device, or another one of its kind: each kind has random streams of its own."""
    began = torch.device(run.provenance["device"])
    device = choose_device(wanted or str(began))
    if device.type != began.type:
        raise RecipeError(
            f"--device {wanted}: the run began on {began}, whose random streams {device.type} cannot go on with"
        )
    return device


def environment(device: torch.device) -> dict[str, Any]:
    """What a figure may depend on besides the recipe and the data."""
    return {
        "afdctl": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
    }


def _commit() -> str | None:
    """The commit of the checkout that this package runs from, with `-dirty` where files differ from it."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
