"""What the log says of a row of the journal."""

from pathlib import PurePath

from afdctl.formatting import format_square_accuracy
from afdctl.journal import Row


def entry(row: Row) -> tuple[str, str] | None:
    """The kind (a word) and the text of a row's line in the log; None for rows that need none."""
    match row["event"]:
        case "run":
            return (
                "start",
                f"{row.get('name', '')} on {row.get('device', '?')}, {row.get('parameters', 0):,} parameters",
            )
        case "resume":
            return "resume", f"at step {row['step']:,} of {row.get('steps_total', 0):,}"
        case "checkpoint":
            return (
                "checkpoint",
                f"step {row['step']:,}{', the best so far' if row.get('best') else ''}  {_short(row.get('file'))}",
            )
        case "epoch":
            return "epoch", _epoch(row)
        case "test":
            return "test", (
                f"{row['checkpoint']} checkpoint, step {row['checkpoint_step']:,}: "
                f"{_accuracies(row, str(row['attack']))}, {row['n']:,} images"
            )
        case "warning":
            return "warn", str(row.get("message"))
        case "end":
            return _end(row)
        case _:
            return _sweeping(row)


def _epoch(row: Row) -> str:
    if not isinstance(row.get("acc_nat"), int | float):
        return f"{row['epoch']} done"
    best = ", the best so far" if row.get("best") else ""
    return f"{row['epoch']}: {_accuracies(row, 'PGD')}{best}"


def _accuracies(row: Row, attack: str) -> str:
    square = format_square_accuracy(row.get("acc_square"))
    return f"clean {row['acc_nat']:.1%}, {attack} {row['acc_adv']:.1%}{square}, no AutoAttack"


def _end(row: Row) -> tuple[str, str]:
    reason, code = str(row.get("reason")), row.get("exit_code")
    message = f": {row['message']}" if row.get("message") else ""
    return (
        "end" if reason == "finished" else "warn"
    ), f"{reason} at step {row.get('step', 0):,}, exit code {code}{message}"


def _sweeping(row: Row) -> tuple[str, str] | None:
    match row["event"]:
        case "sweep":
            return "sweep", f"{row.get('suite', '')}: {len(row['cells'])} cells on {row.get('n', 0):,} images"
        case "cell":
            accuracy = "?" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
            source = f" from {row['source']}" if row.get("source") else ""
            return (
                "cell",
                f"{row['attack']}{source} at ε {row['epsilon']:.4g}: {accuracy}, {row.get('seconds') or 0:.0f} s",
            )
        case "sweep_end":
            return "end", f"sweep {row.get('reason')}, exit code {row.get('exit_code')}"
    return None


def _short(file: object) -> str:
    return PurePath(str(file or "")).name
