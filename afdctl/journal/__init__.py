"""The journal of a run, `events.ndjson`: append-only, one writer, any number of readers. See docs/journal.md."""

from afdctl.journal.cache import JournalCache
from afdctl.journal.events import SCHEMA
from afdctl.journal.lock import check_not_busy, current_writer, signal_writer, unreachable
from afdctl.journal.outline import JournalOutline, drop_superseded
from afdctl.journal.reader import (
    JournalReader,
    JournalReplaced,
    read_rows,
)
from afdctl.journal.rows import Line, Row, check_schema, parse_line, read_tail, rows_between, sample
from afdctl.journal.steps import Steps
from afdctl.journal.writer import Journal
from afdctl.journal.writing_process import Writer

__all__ = [
    "SCHEMA",
    "Journal",
    "JournalCache",
    "JournalOutline",
    "JournalReader",
    "JournalReplaced",
    "Line",
    "Row",
    "Steps",
    "Writer",
    "check_not_busy",
    "check_schema",
    "current_writer",
    "drop_superseded",
    "parse_line",
    "read_rows",
    "read_tail",
    "rows_between",
    "sample",
    "signal_writer",
    "unreachable",
]
