"""Train variants of a recipe that differ in one factor each, attack them, and compare them on the same images.

    python -m benchmarks.factors benchmarks/factors/digits.toml --jobs 2

Every variant and seed is a training and a sweep through the commands of afdctl, with one thread each. A finished one is
a line of `factors_<name>.ndjson`, so the same command resumes, and the table `factors_<name>.md` is written again after
each. The results of a variant whose recipe has changed since are measured again.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import h5py
import numpy as np
import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from afdctl import recipe
from afdctl.errors import RecipeError
from afdctl.evaluation.curves import accuracy_at
from benchmarks.factors_table import table

RESULTS: Final = Path("recipes/results")


class Variant(BaseModel):
    """A row of the table: the study's recipe, or another one, with `--set` values."""

    model_config = ConfigDict(extra="forbid")

    name: str
    set: list[str] = []
    recipe: str | None = None
    seeds: list[int] | None = Field(None, min_length=1)


class Study(BaseModel):
    """The keys of a study's TOML file. The first `[[variant]]` is the one that the others are compared with."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[\w-]+$")
    title: str
    about: str
    recipe: str
    set: list[str] = []
    epsilon: float = Field(gt=0, allow_inf_nan=False)
    attacks: list[Literal["apgd_t", "square", "aa"]] = Field(min_length=1)
    limit: int | None = Field(None, ge=1)
    checkpoint: Literal["best", "last"]
    seeds: list[int] = Field(min_length=1)
    variant: list[Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_repeated(self) -> Self:
        values: list[str | int] = [*(variant.name for variant in self.variant), *self.attacks, *self.seeds]
        if again := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"{again[0]} is named twice")
        for variant in self.variant:
            if others := set(variant.seeds or ()) - set(self.seeds):
                raise ValueError(f"{variant.name}: seed {min(others)} is not one of the study's seeds")
        return self


class Training(NamedTuple):
    """One variant with one seed; `key` identifies its resolved recipe and how it is attacked."""

    variant: str
    seed: int
    recipe: str
    settings: tuple[str, ...]
    key: str


def read(path: Path) -> Study:
    """Read a study. Error: RecipeError."""
    try:
        return Study.model_validate(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{path}: {place}{': ' * bool(place)}{first['msg'].removeprefix('Value error, ')}") from None


def trainings(study: Study) -> list[Training]:
    """List the trainings of a study: every variant with every seed. Error: RecipeError."""
    listed: dict[str, Training] = {}
    # seeds outside, so that an unfinished study is a finished one of fewer seeds
    for seed in study.seeds:
        for variant in study.variant:
            if seed not in (variant.seeds or study.seeds):
                continue
            name = variant.recipe or study.recipe
            settings = (*study.set, *variant.set, f"seed={seed}")
            try:
                # without defaults, so that a key added to the schema later does not discard results
                resolved = recipe.load(name, settings).model_dump_json(exclude_defaults=True)
            except RecipeError as error:
                raise RecipeError(f"{variant.name}: {error}") from None
            attacked = f"{study.epsilon} {study.limit} {study.checkpoint} {sorted(study.attacks)}"
            key = sha256(f"{resolved} {attacked}".encode()).hexdigest()[:16]
            if key in listed:
                raise RecipeError(f"{variant.name}: the same recipe as {listed[key].variant}")
            listed[key] = Training(variant.name, seed, name, settings, key)
    return list(listed.values())


def measure(training: Training, study: Study, runs: Path) -> dict[str, Any]:
    """Train and attack one variant through the commands; both resume what an earlier call began."""
    name = f"{study.name}-{training.key}"
    run, log = runs / name, runs / f"{name}.log"
    overrides = [part for setting in training.settings for part in ("--set", setting)]
    start = ["train", "--resume", str(run)] if (run / "run.json").exists() else ["train", training.recipe, *overrides]
    call([*start, *([] if "--resume" in start else ["--name", name]), "--runs", str(runs), "--no-tui"], log)
    limit = ["--limit", str(study.limit)] if study.limit else []
    attacks = ["--attacks", ",".join(study.attacks), "--epsilons", f"0,{study.epsilon}"]
    call(["sweep", str(run), *attacks, "--checkpoint", study.checkpoint, *limit, "--json"], log)
    return row(training, study, run)


def call(command: Sequence[str], log: Path) -> None:
    """Run a command of afdctl on one thread; its progress goes to `log`. Error: ChildProcessError."""
    # more threads would make two trainings side by side slower than one after the other
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("a") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "afdctl", *command], env=environment, stdout=subprocess.DEVNULL, stderr=stderr
        )
    if done.returncode:
        raise ChildProcessError(f"{log}: `afdctl {' '.join(command)}` ended with {done.returncode}")


def row(training: Training, study: Study, run: Path) -> dict[str, Any]:
    """Summarise a run: accuracies, and which images stay robust under all attacks, as the bits of a hexadecimal."""
    with h5py.File(run / "results.h5") as file:
        cells = {name: file[f"attacks/{name}/{study.epsilon:g}"] for name in study.attacks}
        distances = {name: cell["distance"][:] for name, cell in cells.items()}
        clean = next(iter(cells.values()))["clean"][:] == next(iter(cells.values()))["label"][:]
    lines = (line for line in (run / "events.ndjson").open() if '"test"' in line or '"epoch"' in line)
    events = [json.loads(line) for line in lines]
    test = next(event for event in events if event["event"] == "test" and event["checkpoint"] == study.checkpoint)
    validation = next(
        event for event in events if event["event"] == "epoch" and event["step"] == test["checkpoint_step"]
    )
    worst = np.minimum.reduce(list(distances.values()))
    robust = np.isinf(worst)
    return {
        "key": training.key,
        "variant": training.variant,
        "seed": training.seed,
        "settings": training.settings,
        "clean": float(clean.mean()),
        "pgd": test["acc_adv"],
        "pgd_n": test["n"],
        **{name: accuracy_at(distance, study.epsilon) for name, distance in distances.items()},
        "worst": float(robust.mean()),
        "n": len(robust),
        "holdout_apgd_ce": validation["acc_adv"],
        "probe": validation.get("acc_probe"),
        "holdout_n": validation["n"],
        "commit": json.loads((run / "run.json").read_text()).get("commit"),
        "robust": np.packbits(robust).tobytes().hex(),
    }


def main(
    definition: Annotated[Path, typer.Argument(help="The study, a TOML file such as those of benchmarks/factors/.")],
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at the same time, each with one thread.")] = 1,
    runs: Annotated[Path, typer.Option(help="The folder for the runs.")] = Path("runs/factors"),
    out: Annotated[Path, typer.Option(help="The folder for results and table, named by the study.")] = RESULTS,
) -> None:
    """Run what a study lacks, and write its results and table."""
    try:
        study = read(definition)
        planned = trainings(study)
    except RecipeError as error:
        raise typer.BadParameter(str(error)) from None
    failures = []
    lines, page = (out / f"factors_{study.name}.{suffix}" for suffix in ("ndjson", "md"))
    results = {row["key"]: row for row in map(json.loads, lines.read_text().splitlines())} if lines.exists() else {}
    for folder in (out, runs):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [training for training in planned if training.key not in results]
    typer.echo(f"trainings: {len(planned)}, of which to do: {len(missing)}", err=True)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(measure, training, study, runs) for training in missing]
        for future in as_completed(futures):
            try:
                result = future.result()
            except ChildProcessError as error:
                # the others are still worth their time
                failures.append(str(error))
                continue
            results[result["key"]] = result
            with lines.open("a") as file:
                file.write(json.dumps(result) + "\n")
            page.write_text(table(study, planned, results))
            typer.echo(f"{result['variant']}, seed {result['seed']}: {100 * result['worst']:.1f}", err=True)
    page.write_text(table(study, planned, results))
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    typer.run(main)
