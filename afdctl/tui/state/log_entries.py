"""The text of the log: one line per event of the journal."""

from dataclasses import dataclass
from pathlib import PurePath

from afdctl.formatting import format_count
from afdctl.image_counts import format_subset
from afdctl.journal import Row
from afdctl.runs.alarms import format_alarm
from afdctl.training_text import format_device, format_norm_accuracies, format_probe_accuracy, format_square_accuracy


@dataclass(frozen=True)
class LogEntry:
    """A line of the log: the time in seconds since 1970, the kind of event, and a text."""

    t: float
    kind: str
    text: str


def log_entry(row: Row) -> LogEntry | None:
    """Return the line of a row; None for rows without one."""
    entry = _training_entry(row) or _sweep_entry(row)
    return LogEntry(float(row.get("t") or 0.0), *entry) if entry else None


def _training_entry(row: Row) -> tuple[str, str] | None:
    match row["event"]:
        case "run":
            device = format_device({"device": "?"} | row)
            return "start", f"{row.get('name', '')} on {device}; {row.get('parameters', 0):,} parameters"
        case "resume":
            return "resume", f"at step {row['step']:,} of {row.get('steps_total', 0):,}"
        case "checkpoint":
            best = ", the best so far" if row.get("best") else ""
            return "checkpoint", f"step {row['step']:,}{best}  {PurePath(str(row.get('file') or '')).name}"
        case "epoch":
            return "epoch", _epoch(row)
        case "test":
            checkpoint = f"{row['checkpoint']} checkpoint, step {row['checkpoint_step']:,}"
            return "test", f"{checkpoint}: {_accuracies(row, str(row['attack']))}, {format_subset(row, 'images')}"
        case "alarm":
            return "alarm", format_alarm(row)
        case "warning":
            return "warn", str(row.get("message"))
        case "end":
            return _end(row)
    return None


def _epoch(row: Row) -> str:
    if not isinstance(row.get("acc_nat"), int | float):
        # not every epoch is validated; without a hold-out, none is
        return f"{row['epoch']} done"
    best = ", the best so far" if row.get("best") else ""
    return f"{row['epoch']}: {_accuracies(row, 'APGD-CE')}{best}"


def _accuracies(row: Row, attack: str) -> str:
    square = format_square_accuracy(row.get("acc_square"), row.get("square_queries"))
    more = square + format_probe_accuracy(row.get("acc_probe")) + format_norm_accuracies(row)
    # no such accuracy is printed without these words
    return f"clean {row['acc_nat']:.1%}, {attack} {row['acc_adv']:.1%}{more}, no AutoAttack"


def _end(row: Row) -> tuple[str, str]:
    reason = str(row.get("reason"))
    message = f": {row['message']}" if row.get("message") else ""
    text = f"{reason} at step {row.get('step', 0):,}, exit code {row.get('exit_code')}{message}"
    return ("end" if reason == "finished" else "warn"), text


def _sweep_entry(row: Row) -> tuple[str, str] | None:
    match row["event"]:
        case "sweep":
            cells = format_count(len(row["cells"]), "cell")
            return "sweep", f"{row.get('suite', '')}: {cells} on {format_count(row.get('n', 0), 'image')}"
        case "cell":
            accuracy = "?" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
            source = f" from {row['source']}" if row.get("source") else ""
            attack = f"{row['attack']}{source} at ε {row['epsilon']:.4g}"
            return "cell", f"{attack}: {accuracy}, {row.get('seconds') or 0:.0f} s"
        case "sweep_end":
            return "end", f"sweep {row.get('reason')}, exit code {row.get('exit_code')}"
    return None
