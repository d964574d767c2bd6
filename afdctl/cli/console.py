"""The console of tables, bars and messages: text is text, whatever it holds."""

import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from afdctl.cli.printing import beneath
from afdctl.formatting import printable


class Console(RichConsole):
    """A console whose only escape sequences are its own: no markup, no control characters."""

    def __init__(self, *, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        super().__init__(file=file and beneath(file), highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a text into what is drawn, so that its width is measured as such."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Turn anything into segments of printable text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
