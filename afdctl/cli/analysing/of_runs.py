"""One analysis of several runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afdctl.store.run import Run
    from afdctl.store.shards import Arrays


@dataclass(frozen=True)
class OfRuns:
    """The journal's rows of the analysis `name`, by the runs' names; there is at least one."""

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    runs: "Mapping[str, Run]"

    @property
    def figures(self) -> dict[str, Mapping[str, Any]]:
        """Run -> results."""
        return {run: row["figures"] for run, row in self.rows.items()}

    def arrays(self, run: str) -> "Arrays":
        from afdctl.store import shards

        return shards.read(self.runs[run], self.rows[run]["shard"])

    @property
    def images(self) -> str:
        """On how many test images: `360 test images`."""
        counts = sorted({row["n"] for row in self.rows.values()})
        return f"{' and '.join(f'{count:,}' for count in counts)} test images"

    def epsilons(self) -> list[float]:
        """All epsilons of all runs, ascending."""
        return sorted({epsilon for figures in self.figures.values() for epsilon in figures["epsilons"]})
