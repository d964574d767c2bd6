"""From runs to the page: what each part of the template `report.html` is given."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from afdctl import __version__
from afdctl.evaluation.statistics import Interval, wilson
from afdctl.export.report import analyses, attacks, training
from afdctl.export.report.training import TrainingSection
from afdctl.formatting import NORM_LABELS, format_epsilon, printable
from afdctl.journal import Row
from afdctl.runs.diff import differing_keys, flattened
from afdctl.runs.record import Record
from afdctl.runs.summary import RunSummary

ENVIRONMENT = (
    "afdctl",
    "commit",
    "torch",
    "cuda",
    "python",
    "device",
    "device_name",
    "platform",
    "threads",
    "command",
    "seed",
    "recipe_digest",
    "data_digest",
)


@dataclass(frozen=True)
class ReportRun:
    """One run as the page shows it; `number` chooses its colour."""

    number: int
    record: Record

    @cached_property
    def overview(self) -> RunSummary:
        return RunSummary.of(self.record)

    @cached_property
    def studied(self) -> analyses.AnalysisSection:
        return analyses.analysis_section(self.record)

    @property
    def recipe(self) -> dict[str, dict[str, Any]]:
        """The recipe's values by table; those that are None do not apply."""
        tables: dict[str, dict[str, Any]] = {}
        if self.record.recipe:
            for key, value in flattened(self.record.recipe.model_dump(mode="json")).items():
                table, _, name = key.rpartition(".")
                if value is not None:
                    tables.setdefault(table or "recipe", {})[name] = value
        return tables

    @property
    def environment(self) -> dict[str, Any]:
        known = self.record.run.provenance
        return {key: known[key] for key in ENVIRONMENT if known.get(key) not in (None, "")}

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What the page lacks of this run, and the command that makes it."""
        path = shlex.quote(str(self.record.run.path))
        found = []
        if self.record.run.kind == "trained" and not self.record.of_kind("test"):
            found.append(("not trained to its end", f"afdctl train --resume {path}"))
        if what := attacks.missing(self.record):
            found.append((what, f"afdctl sweep {path}"))
        if left := analyses.missing(self.record):
            found.append((f"no {', '.join(left)}", f"afdctl analyze {path} {' '.join(f'--{name}' for name in left)}"))
        return found

    def interval(self, row: Row, key: str) -> Interval:
        """Wilson's 95 % interval of an accuracy of a test."""
        return wilson(round(row[key] * row["n"]), row["n"])


def build(records: Sequence[Record]) -> str:
    """The page. Errors: CorruptError for a damaged shard."""
    shown = [ReportRun(number, one) for number, one in enumerate(records)]
    names = [one.name for one in records]
    blocks = attacks.attack_sections(records)
    page = _template().render(
        title=", ".join(names),
        version=__version__,
        made=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        runs=shown,
        names=names,
        different=differing_keys([one.recipe.model_dump(mode="json") if one.recipe else {} for one in records]),
        training=training.charts([TrainingSection(one, training.series(one)) for one in records]),
        blocks=[(block, block.charts(names)) for block in blocks],
        analyses=analyses.charts(records),
        note=analyses.note(records),
    )
    # names come from files: what a browser or a pager would obey is shown
    return printable(page)


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "value": value, "epsilon": epsilon, "norm": NORM_LABELS.get}
    return environment.get_template("report.html")


def percent(share: float | None) -> str:
    """`91.4`; a dash for what is not known."""
    return "—" if share is None else f"{100 * share:.1f}"


def value(item: Any) -> str:
    """A recipe's value as TOML writes it, or nearly."""
    if item is None:
        return "—"
    return str(item).lower() if isinstance(item, bool) else f"{item:.6g}" if isinstance(item, float) else str(item)


def epsilon(number: float) -> str:
    """`clean`, `0.1`, `8/255`."""
    return format_epsilon(number) if number else "clean"
