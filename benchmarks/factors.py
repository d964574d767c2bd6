"""Train variants of a recipe that differ in one factor each, attack them, and compare them on the same images.

    python benchmarks/factors.py benchmarks/factors/digits.toml --jobs 2

Every variant and seed is a training and a sweep through the commands of afdctl, with one thread each. A finished one is
a line of `recipes/results/factors_<name>.ndjson`, so the same command resumes, and the table beside it is written again
after each. The results of a variant whose recipe has changed since are measured again.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any, Final, NamedTuple

import h5py
import numpy as np
import typer
from scipy.stats import spearmanr

from afdctl import recipe
from afdctl.evaluation.curves import accuracy_at
from afdctl.formatting import format_epsilon
from afdctl.runs.paired import format_p, mcnemar

RESULTS: Final = Path("recipes/results")
# what a study can measure on every variant; the worst case over its attacks is a column too
ATTACKS: Final = {"apgd_t": "APGD-T", "square": "Square", "aa": "AutoAttack"}
# what a training could be selected by, to be ranked against AutoAttack
MEASUREMENTS: Final = {
    "holdout_apgd_ce": ("hold-out", "APGD-CE"),
    "probe": ("hold-out", "probe"),
    "pgd": ("test", "PGD-40"),
    "square": ("test", "Square"),
    "apgd_t": ("test", "APGD-T"),
}
# of fewer checkpoints a rank correlation says little
ENOUGH_CHECKPOINTS: Final = 12


class Training(NamedTuple):
    """One variant with one seed; `key` identifies its resolved recipe and how it is attacked."""

    variant: str
    seed: int
    recipe: str
    settings: tuple[str, ...]
    key: str


def trainings(study: dict[str, Any]) -> list[Training]:
    """List the trainings of a study: every variant with every seed."""
    listed = []
    # seeds outside, so that an unfinished study is a finished one of fewer seeds
    for seed in study["seeds"]:
        for variant in study["variant"]:
            if seed not in variant.get("seeds", study["seeds"]):
                continue
            name = variant.get("recipe", study["recipe"])
            settings = (*study["set"], *variant["set"], f"seed={seed}")
            # without defaults, so that a key added to the schema later does not discard results
            resolved = recipe.load(name, settings).model_dump_json(exclude_defaults=True)
            attacked = f"{study['epsilon']} {study.get('limit')} {study['checkpoint']} {sorted(study['attacks'])}"
            key = sha256(f"{resolved} {attacked}".encode()).hexdigest()[:16]
            listed.append(Training(variant["name"], seed, name, settings, key))
    return listed


def measure(training: Training, study: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Train and attack one variant through the commands; both resume what an earlier call began."""
    name = f"{study['name']}-{training.key}"
    run, log = runs / name, runs / f"{name}.log"
    overrides = [part for setting in training.settings for part in ("--set", setting)]
    start = ["train", "--resume", str(run)] if (run / "run.json").exists() else ["train", training.recipe, *overrides]
    call([*start, *([] if "--resume" in start else ["--name", name]), "--runs", str(runs), "--no-tui"], log)
    limit = ["--limit", str(study["limit"])] if "limit" in study else []
    grid = f"0,{study['epsilon']}"
    attacks = ",".join(study["attacks"])
    sweep = ["sweep", str(run), "--attacks", attacks, "--epsilons", grid, "--checkpoint", study["checkpoint"]]
    call([*sweep, *limit, "--json"], log)
    return row(training, study, run)


def call(command: Sequence[str], log: Path) -> None:
    """Run a command of afdctl on one thread; its progress goes to `log`."""
    # more threads would make two trainings side by side slower than one after the other
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("a") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", "afdctl", *command], env=environment, stdout=subprocess.DEVNULL, stderr=stderr
        )
    if done.returncode:
        raise SystemExit(f"{log}: `afdctl {' '.join(command)}` ended with {done.returncode}")


def row(training: Training, study: dict[str, Any], run: Path) -> dict[str, Any]:
    """Summarise a run: accuracies, and which images stay robust under all attacks, as the bits of a hexadecimal."""
    with h5py.File(run / "results.h5") as file:
        cells = {name: file[f"attacks/{name}/{study['epsilon']:g}"] for name in study["attacks"]}
        distances = {name: cell["distance"][:] for name, cell in cells.items()}
        clean = next(iter(cells.values()))["clean"][:] == next(iter(cells.values()))["label"][:]
    lines = (line for line in (run / "events.ndjson").open() if '"test"' in line or '"epoch"' in line)
    events = [json.loads(line) for line in lines]
    test = next(event for event in events if event["event"] == "test" and event["checkpoint"] == study["checkpoint"])
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
        **{name: accuracy_at(distance, study["epsilon"]) for name, distance in distances.items()},
        "worst": float(robust.mean()),
        "n": len(robust),
        "holdout_apgd_ce": validation["acc_adv"],
        "probe": validation.get("acc_probe"),
        "holdout_n": validation["n"],
        "commit": json.loads((run / "run.json").read_text()).get("commit"),
        "robust": np.packbits(robust).tobytes().hex(),
    }


def unpack(result: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Return which images of a result stay robust, (n,)."""
    bits = np.frombuffer(bytes.fromhex(result["robust"]), dtype=np.uint8)
    return np.unpackbits(bits, count=result["n"]).astype(bool)


def table(study: dict[str, Any], planned: Iterable[Training], results: dict[str, dict[str, Any]]) -> str:
    """Format the results as Markdown: means over seeds, and every variant against the first one, paired by image."""
    variants: dict[str, list[dict[str, Any]]] = {}
    # rows in the order of the study, not of the results
    for training in planned:
        if training.key in results:
            variants.setdefault(training.variant, []).append(results[training.key])
    columns = {"clean": "clean", "pgd": "PGD-40", **{name: ATTACKS[name] for name in study["attacks"]}}
    # the worst case over one attack is that attack
    columns |= {"worst": "worst case"} if len(study["attacks"]) > 1 else {}
    lines = [
        f"# {study['title']}",
        "",
        study["about"].strip(),
        "",
        f"| variant | seeds | {' | '.join(columns.values())} | against the first | p |",
        f"|---|---|{'---|' * (len(columns) + 2)}",
    ]
    base = {result["seed"]: result for result in next(iter(variants.values()), [])}
    for name, rows in variants.items():
        cells = [format_mean([100 * result[column] for result in rows]) for column in columns]
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} | {against(rows, base)} |")
    n = next(iter(results.values()))["n"] if results else 0
    lines += [
        "",
        f"Accuracies in percent at ε = {format_epsilon(study['epsilon'])}, mean ± standard deviation of seeds. PGD-40 "
        f"is on the whole test split, the attacks beside it on {n:,} test images. Last: the difference "
        "of the worst case to the first row in points and the p of McNemar's exact test, over pairs of one seed and "
        "one image. With few seeds p compares networks, not methods: two seeds of one variant may differ as much.",
        "",
        *selection_lines([row for rows in variants.values() for row in rows]),
    ]
    return "\n".join(lines)


def selection_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Format how well cheaper measurements rank the checkpoints of a study: Spearman's rho with AutoAttack."""
    if len(rows) < ENOUGH_CHECKPOINTS or any("aa" not in row for row in rows):
        return []
    probed = [row for row in rows if row["probe"] is not None]
    lines = ["| on | measurement | checkpoints | Spearman's rho with AutoAttack |", "|---|---|---|---|"]
    for column, (images, name) in MEASUREMENTS.items():
        if any(column not in row for row in rows):
            continue
        ranked = probed if column == "probe" else rows
        rho = spearmanr([row[column] for row in ranked], [row["aa"] for row in ranked]).statistic
        lines.append(f"| {images} | {name} | {len(ranked)} | {rho:.2f} |")
    return [*lines, ""]


def format_mean(values: Sequence[float]) -> str:
    """Format `82.3 ± 0.4`, or one value alone."""
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def against(rows: Sequence[dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """Compare a variant with the first one on the seeds that both have: difference in points, and p."""
    pairs = [(result, base[result["seed"]]) for result in rows if result["seed"] in base]
    if not pairs or all(result is first for result, first in pairs):
        return " | "
    ours, theirs = (np.concatenate([unpack(pair[side]) for pair in pairs]) for side in (0, 1))
    p = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
    return f"{100 * (ours.mean() - theirs.mean()):+.1f} | {format_p(p).removeprefix('p ').removeprefix('= ')}"


def main(
    definition: Annotated[Path, typer.Argument(help="The study: a file of benchmarks/factors/.")],
    jobs: Annotated[int, typer.Option(help="Trainings at the same time, each with one thread.")] = 1,
    runs: Annotated[Path, typer.Option(help="The folder for the runs.")] = Path("runs/factors"),
) -> None:
    """Run what a study lacks, and write its results and table to recipes/results/."""
    study = tomllib.loads(definition.read_text())
    lines, page = (RESULTS / f"factors_{study['name']}.{suffix}" for suffix in ("ndjson", "md"))
    results = {row["key"]: row for row in map(json.loads, lines.read_text().splitlines())} if lines.exists() else {}
    planned = trainings(study)
    for folder in (RESULTS, runs):
        folder.mkdir(parents=True, exist_ok=True)
    missing = [training for training in planned if training.key not in results]
    typer.echo(f"{len(planned)} trainings, {len(missing)} of them to do", err=True)
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(measure, training, study, runs) for training in missing]
        for future in as_completed(futures):
            result = future.result()
            results[result["key"]] = result
            with lines.open("a") as file:
                file.write(json.dumps(result) + "\n")
            page.write_text(table(study, planned, results))
            typer.echo(f"{result['variant']}, seed {result['seed']}: {100 * result['worst']:.1f}", err=True)
    page.write_text(table(study, planned, results))


if __name__ == "__main__":
    typer.run(main)
