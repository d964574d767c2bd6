"""Print text as it is, with control characters shown as escapes, and tables."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from afdctl.cli.process import broken_pipe_error, raw_stream
from afdctl.formatting import printable

# width of tables that are not printed on a terminal
PIPE_WIDTH = 200


class Console(RichConsole):
    """A console that interprets no markup and emits no escape sequences but its own."""

    def __init__(self, *, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        # no markup: rich would take the brackets in `a[red]` for a colour
        super().__init__(file=file and raw_stream(file), highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escape the text before it is measured and drawn."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render to segments of printable text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


class TableConsole(Console):
    """A console for tables on stdout: no wrapping in a pipe, and a quiet end when the reader is gone."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_terminal:
            self.width = PIPE_WIDTH

    def on_broken_pipe(self) -> None:
        raise broken_pipe_error()

    def print_dropping_columns(self, draw: Callable[[int], Table], most: int) -> None:
        """Print `draw(n)` with as many of its `most` optional columns as fit, and name those left out."""
        table, dropped = self.fit_columns(draw, most)
        self.print(table)
        if dropped:
            self.print(f"No room for {', '.join(dropped)}: a wider terminal or --json shows them.")

    def fit_columns(self, draw: Callable[[int], Table], most: int) -> tuple[Table, list[str]]:
        """Return `draw(n)` with as many of its `most` optional columns as fit, and the headers of those left out."""
        # a measurement ends at the width of its options
        unlimited = self.options.update(width=sys.maxsize)
        for optional in range(most, -1, -1):
            table = draw(optional)
            if self.measure(table, options=unlimited).maximum <= self.width:
                break
        headers = {column.header for column in table.columns}
        return table, [str(column.header) for column in draw(most).columns if column.header not in headers]
