"""Build the report's page: the values that the template `report.html` shows."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from afdctl import __version__
from afdctl.export.report import analyses, curves
from afdctl.export.union_notes import union_notes
from afdctl.formatting import NORM_LABELS, format_epsilon, format_value, printable
from afdctl.image_counts import describe_images
from afdctl.journal import Row
from afdctl.runs.alarms import format_alarms
from afdctl.runs.curves import Interval, accuracy_interval, lacks_autoattack
from afdctl.runs.provenance import differing_keys, flattened, in_words
from afdctl.runs.record import Record
from afdctl.runs.summary import RunSummary

# fields of run.json on the page
ENVIRONMENT = (
    "afdctl",
    "commit",
    "torch",
    "cuda",
    "python",
    "device",
    "device_name",
    "platform",
    "processes",
    "threads",
    "precisions",
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
    def summary(self) -> RunSummary:
        return RunSummary.of(self.record)

    @cached_property
    def analysis(self) -> analyses.AnalysisSection:
        return analyses.analysis_section(self.record)

    @property
    def recipe(self) -> dict[str, dict[str, Any]]:
        """The recipe's values by table, without those that are None and do not apply."""
        tables: dict[str, dict[str, Any]] = {}
        if self.record.recipe:
            for key, value in flattened(self.record.recipe.model_dump(mode="json")).items():
                table, _, name = key.rpartition(".")
                if value is not None:
                    tables.setdefault(table or "recipe", {})[name] = value
        return tables

    @property
    def environment(self) -> dict[str, Any]:
        provenance = in_words(self.record.run.provenance)
        return {key: provenance[key] for key in ENVIRONMENT if provenance.get(key) not in (None, "")}

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What the page lacks of this run, each with the command that computes it."""
        path = shlex.quote(str(self.record.run.path))
        gaps = []
        if self.record.run.kind == "trained" and not self.record.of_kind("test"):
            gaps.append(("training not finished", f"afdctl train --resume {path}"))
        if not self.record.curves:
            gaps.append(("not attacked yet", f"afdctl sweep {path}"))
        elif lacks_autoattack(self.record.curves.values()):
            gaps.append(("no AutoAttack; robust accuracy may be lower", f"afdctl sweep {path}"))
        if names := [name for name in analyses.NAMES if name not in self.record.analyses]:
            gaps.append((f"no {', '.join(names)}", f"afdctl analyze {path} {' '.join(f'--{name}' for name in names)}"))
        return gaps

    @cached_property
    def diagnoses(self) -> list[dict[str, Any]]:
        """The masking diagnoses whose attacks allow a comparison."""
        # torch is imported for attacked runs only
        if not self.record.curves:
            return []
        from afdctl.analysis import masking

        return [diagnosis.as_json() for diagnosis in masking.of_record(self.record) if diagnosis.compares]

    @property
    def alarms(self) -> list[str]:
        return format_alarms(self.record.of_kind("alarm"))

    def interval(self, row: Row, key: str) -> Interval:
        """Return Wilson's 95 % interval of an accuracy of a test."""
        return accuracy_interval(row[key], row["n"])


def build(records: Sequence[Record]) -> str:
    """Build the HTML page of one run or several."""
    names = [record.name for record in records]
    recipes = [record.recipe.model_dump(mode="json") if record.recipe else {} for record in records]
    trainings = [curves.TrainingSection(record, curves.step_history(record)) for record in records]
    page = _template().render(
        title=", ".join(names),
        version=__version__,
        created=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        runs=[ReportRun(number, record) for number, record in enumerate(records)],
        names=names,
        differences=differing_keys(recipes),
        training_charts=curves.training_charts(trainings),
        attack_sections=[(section, section.charts(names)) for section in curves.attack_sections(records)],
        union_notes=list(union_notes(records)),
        analysis_charts=analyses.charts(records),
        analysis_note=analyses.note(records),
    )
    # names come from files: control characters are shown as escapes, not obeyed by a browser or pager
    return printable(page)


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # names of runs and messages of errors are text, never markup
        autoescape=True,
        # a wrong name in the template is an error, not an empty place on the page
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": format_percent,
        "images": describe_images,
        "value": format_value,
        "epsilon": format_epsilon_or_clean,
        "norm": NORM_LABELS.get,
    }
    return environment.get_template("report.html")


def format_percent(share: float | None) -> str:
    """Format a share in percent: `91.4`; a dash for None."""
    return "—" if share is None else f"{100 * share:.1f}"


def format_epsilon_or_clean(epsilon: float) -> str:
    """Format an epsilon: `clean`, `0.1`, `8/255`."""
    return format_epsilon(epsilon) if epsilon else "clean"
