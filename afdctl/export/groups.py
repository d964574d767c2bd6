"""Runs grouped by recipe, and the commands that compute what a group lacks."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from afdctl import registry
from afdctl.descriptors import without_additions
from afdctl.formatting import printable
from afdctl.paths import display_path
from afdctl.recipe import packaged
from afdctl.runs.record import Record
from afdctl.runs.run import Run

# the paper's methods in its order, each with the end of its packaged recipes' names
RECIPES: Final = {"NT": "nt", "AT": "at", "TRADES": "trades", "AFD-DCGAN": "dcgan", "AFD-WGAN": "wgan"}
METHODS: Final = tuple(RECIPES)
DATASETS: Final = ("mnist", "cifar10", "cifar100", "tiny_imagenet")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only: one row of a table, one curve of a figure.

    `label` is the method, followed by the first run's name where several recipes have the same method. A group without
    records is a row of the paper without a run.
    """

    dataset: str
    method: str
    label: str
    records: tuple[Record, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(record.name for record in self.records)


def group_runs(records: Iterable[Record], *, distinct_labels: bool = False) -> list[Group]:
    """Group runs by recipe, in the paper's order of data sets and methods.

    Labels are distinct within a data set, or with `distinct_labels` among all groups.
    """
    by_recipe: dict[str, list[Record]] = {}
    for record in records:
        by_recipe.setdefault(record.group, []).append(record)
    keys = [("" if distinct_labels else runs[0].dataset, runs[0].method) for runs in by_recipe.values()]
    count = Counter(keys)
    groups = [
        Group(runs[0].dataset, runs[0].method, _label(runs[0], alone=count[key] == 1), tuple(runs))
        for key, runs in zip(keys, by_recipe.values(), strict=True)
    ]
    return sorted(groups, key=_rank)


def plot_groups(records: Iterable[Record]) -> list[Group]:
    """Group runs under distinct labels that matplotlib draws literally, `$` and control characters included."""
    groups = group_runs(records, distinct_labels=True)
    # matplotlib reads the text between two $ as a formula, and a run's name may contain them
    return [replace(group, label=printable(group.label).replace("$", r"\$")) for group in groups]


def table_groups(records: Iterable[Record], with_paper: bool) -> list[Group]:
    """Group runs, with an empty group for each method of the paper that one of their data sets lacks, if asked."""
    groups = group_runs(records)
    if not with_paper:
        return groups
    present = {(group.dataset, group.method) for group in groups}
    absent = [
        Group(dataset, method, method)
        for dataset in dict.fromkeys(group.dataset for group in groups)
        if dataset in DATASETS
        for method in METHODS
        if (dataset, method) not in present
    ]
    return sorted([*groups, *absent], key=_rank)


def has_seeds(records: Iterable[Record]) -> bool:
    """Return whether runs have two different seeds, so that they have a deviation over seeds."""
    # the same seed again repeats the sample: its deviation of 0 would pass for a precise result
    return len({record.seed for record in records}) > 1


def method_rank(label: str) -> tuple[bool, int, str]:
    """Return the sort key of a label: built-in methods in the registry's order, then users' and custom models."""
    known = [method for defense in registry.DEFENSES.values() for method in defense.methods]
    name = label.partition(" ")[0]
    method = without_additions(name)
    return method not in known, known.index(method) if method in known else 0, name.removeprefix(method)


def dataset_title(dataset: str) -> str:
    """Return the printed name of a data set."""
    known = registry.DATASETS.get(dataset)
    return known.label if known else dataset


def dataset_titles(datasets: Iterable[str]) -> str:
    """Join the titles of the distinct data sets, in the registry's order, users' own last."""
    return ", ".join(map(dataset_title, in_order(datasets, registry.DATASETS)))


def in_order(datasets: Iterable[str], first: Iterable[str]) -> list[str]:
    """Return the distinct data sets, those in `first` in its order before the others."""
    present = list(dict.fromkeys(datasets))
    known = [dataset for dataset in first if dataset in present]
    return list(dict.fromkeys([*known, *present]))


class Gap(NamedTuple):
    """A missing result: `command` computes it, with `{runs}` and `{attacks}` to fill in."""

    command: str
    run: str = ""
    attack: str = ""


def commands(gaps: Iterable[Gap]) -> list[str]:
    """Fill each distinct command with all runs and attacks that need it; sweeps and analyses skip finished work."""
    runs: dict[str, dict[str, None]] = {}
    attacks: dict[str, dict[str, None]] = {}
    for gap in gaps:
        runs.setdefault(gap.command, {})[gap.run] = None
        attacks.setdefault(gap.command, {})[gap.attack] = None
    # attacks first: a run's name may contain braces
    return [
        command.replace("{attacks}", ",".join(attacks[command])).replace("{runs}", " ".join(runs[command]))
        for command in runs
    ]


def sweep_gap(record: Record, attack: str, options: str = "") -> Gap:
    """Describe a missing sweep of the run under an attack of suite paper-A2."""
    # with the suite: the default one has other grids, whose results a table of the paper notes as different
    checkpoint = _checkpoint_option(record, "cell")
    command = f"afdctl sweep {{runs}} --suite paper-A2{options}{checkpoint} --attacks {{attacks}}"
    return Gap(command, quote_run(record.run), attack)


def full_sweep_gap(record: Record) -> Gap:
    """Describe a missing sweep of the run under all attacks of suite paper-A2."""
    return Gap(f"afdctl sweep {{runs}} --suite paper-A2{_checkpoint_option(record, 'cell')}", quote_run(record.run))


def analysis_gap(record: Record, *analyses: str) -> Gap:
    """Describe missing analyses of the run."""
    options = "".join(f" --{name}" for name in analyses) + _checkpoint_option(record, "analysis")
    return Gap(f"afdctl analyze {{runs}}{options}", quote_run(record.run))


def _checkpoint_option(record: Record, event: str) -> str:
    """Return the option that measures the checkpoint which the other results of the run are of."""
    # sweep's default is `best`, whose results would count in place of those shown
    return " --checkpoint last" if record.checkpoint_name(event) == "last" else ""


def training_gap(dataset: str, method: str) -> Gap | None:
    """Describe a missing run of a method of the paper; None for a data set without a packaged recipe."""
    name = f"{dataset}_{RECIPES[method]}"
    return Gap(f"afdctl train {name}") if name in packaged() else None


def quote_run(run: Run, *inside: str) -> str:
    """Quote a run, or a file inside it, for a shell; runs under `runs`, the default folder, by name alone."""
    # resolved, because either path may contain a symbolic link
    if not inside and run.path.resolve().parent == Path("runs").resolve():
        return shlex.quote(run.name)
    return shlex.quote(str(display_path(run.path.joinpath(*inside))))


def _label(record: Record, *, alone: bool) -> str:
    return record.method if alone or record.method == record.name else f"{record.method} ({record.name})"


def _rank(group: Group) -> tuple[int, str, tuple[bool, int, str]]:
    # data sets that the paper does not use come after its own, and users' own last
    datasets = list(dict.fromkeys([*DATASETS, *registry.DATASETS]))
    known = group.dataset in datasets
    place = datasets.index(group.dataset) if known else len(datasets)
    return place, "" if known else group.dataset, method_rank(group.label)
