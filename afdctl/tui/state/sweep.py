"""What the journal has of attacks on a run: planned cells while a sweep is at work, else all results that count."""

from dataclasses import dataclass, field
from itertools import pairwise

from afdctl.journal import Row, drop_superseded
from afdctl.runs.cells import pointers, shown_clean, shown_curves

Key = tuple[str, str]
"""An attack, and the run whose adversarial images it uses ('' for its own)."""


@dataclass(frozen=True)
class Cell:
    """One attack at one epsilon: `accuracy` in [0, 1] or None while it is to come; `low`, `high` is its interval."""

    epsilon: float
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    partial: bool = False


@dataclass
class SweepProgress:
    """The sweep at work, by its plan; where none is, the results of the whole journal that count.

    A cell is found by attack, source and epsilon. `plan` is empty where the training is the newer part.
    """

    plan: Row = field(default_factory=dict)
    record: list[Row] = field(default_factory=list)
    """The checkpoints and the cells of the journal: what decides which results count."""
    images: set[int] = field(default_factory=set)
    measured: dict[str, Cell] = field(default_factory=dict)
    """Every finished cell of the journal by its key, which holds all that its figure depends on."""
    cells: dict[Key, dict[float, Cell]] = field(default_factory=dict)
    norms: dict[Key, str] = field(default_factory=dict)
    at_work: Key | None = None
    done: int = 0
    of: int = 0
    acc_nat: float | None = None
    ended: Row | None = None
    since: float = 0.0
    now: float = 0.0

    def take(self, row: Row) -> None:
        """Add what a row says. Errors: KeyError, TypeError, ValueError for a row that is not as it should be."""
        self.now = float(row.get("t") or self.now)
        match row["event"]:
            case "sweep":
                self._begin(row)
            case "sweep_progress" | "sweep_part":
                self._part(row)
            case "cell":
                self._cell(row)
            case "sweep_end":
                self.ended, self.at_work = row, None
                self._settle()
            case "checkpoint":
                pointers([row])  # a row that cannot be read would end every later look at the record
                self.record.append(row)

    def resume(self, row: Row) -> None:
        """The training goes on: no sweep is at work, and what was measured of superseded checkpoints is gone."""
        self.record = drop_superseded([*self.record, row])
        self.plan, self.ended, self.at_work, self.cells = {}, None, None, {}
        self._settle()

    def _settle(self) -> None:
        """Show what counts; of a sweep that did not come to its end, what it still lacks as well."""
        curves = shown_curves(self.record)
        planned = {
            key: {epsilon: cell for epsilon, cell in cells.items() if cell.partial or cell.accuracy is None}
            for key, cells in self.cells.items()
        }
        measured = {
            (attack, source or ""): {cell["epsilon"]: _cell_of(cell) for cell in curve}
            for (attack, source), curve in curves.items()
        }
        self.cells = {key: planned.get(key, {}) | measured.get(key, {}) for key in [*planned, *measured]}
        self.norms |= {(attack, source or ""): curve[0]["norm"] for (attack, source), curve in curves.items()}
        self.images = {curve[0]["n"] for curve in curves.values()} or self.images
        clean = shown_clean(self.record)
        self.acc_nat = clean["acc_nat"] if clean else None

    def _begin(self, row: Row) -> None:
        self.plan, self.since, self.ended, self.at_work = row, self.now, None, None
        self.cells, self.images = {}, {int(row.get("n") or 0)}
        for cell in row["cells"]:
            key, epsilon = key_of(cell), float(cell["epsilon"])
            self.norms[key] = str(cell.get("norm", ""))
            # an earlier sweep's result is not measured again
            self.cells.setdefault(key, {})[epsilon] = self.measured.get(str(cell["key"]), Cell(epsilon))

    def _part(self, row: Row) -> None:
        key = key_of(row)
        self.at_work, self.done, self.of = key, int(row["done"]), int(row["n"])
        for text, accuracy in row["accuracy"].items():
            epsilon = self._known(key, float(text))
            if accuracy is not None and self._open(key, epsilon):
                self.cells.setdefault(key, {})[epsilon] = Cell(epsilon, float(accuracy), partial=True)

    def _cell(self, row: Row) -> None:
        key = key_of(row)
        epsilon = self._known(key, float(row["epsilon"]))
        self.norms.setdefault(key, str(row.get("norm", "")))
        shown_curves([row])  # a row that cannot be read would end every later look at the record
        self.record.append(row)
        self.cells.setdefault(key, {})[epsilon] = self.measured[str(row["key"])] = _cell_of(row)
        self.acc_nat = row.get("acc_nat", self.acc_nat)
        if self.at_work == key and not any(self._open(key, each) for each in self.cells[key]):
            self.at_work = None

    def _open(self, key: Key, epsilon: float) -> bool:
        cell = self.cells.get(key, {}).get(epsilon)
        return cell is None or cell.accuracy is None or cell.partial

    def _known(self, key: Key, epsilon: float) -> float:
        """The planned epsilon that this one is, as texts round."""
        return next((each for each in self.cells.get(key, {}) if abs(each - epsilon) < 1e-6), epsilon)

    @property
    def norms_in_order(self) -> list[str]:
        """Each norm once, in the order of the plan."""
        return list(dict.fromkeys(self.norms.get(key, "") for key in self.cells))

    @property
    def lines(self) -> int:
        """How many lines its table needs below the first heading: each further norm has a heading of its own."""
        return len(self.cells) + max(0, len(self.norms_in_order) - 1)

    def attacks(self, norm: str) -> list[Key]:
        """The attacks of a norm, in the order of the plan."""
        return [key for key in self.cells if self.norms.get(key, "") == norm]

    def begun(self, norm: str) -> list[Key]:
        """Those of them that have an accuracy."""
        return [key for key in self.attacks(norm) if any(c.accuracy is not None for c in self.cells[key].values())]

    def epsilons(self, norm: str) -> list[float]:
        """All of a norm's, ascending."""
        return sorted({epsilon for key in self.attacks(norm) for epsilon in self.cells[key]})

    @property
    def finished(self) -> int:
        """How many cells are measured."""
        return sum(
            cell.accuracy is not None and not cell.partial for row in self.cells.values() for cell in row.values()
        )

    @property
    def planned(self) -> int:
        """How many cells there are."""
        return sum(map(len, self.cells.values()))

    def auc(self, key: Key) -> float | None:
        """The area under accuracy by epsilon over the grid's length, where all of it is measured."""
        cells = sorted(self.cells[key].values(), key=lambda cell: cell.epsilon)
        if cells and cells[0].epsilon > 0:
            cells.insert(0, Cell(0.0, self.acc_nat))
        if len(cells) < 2 or any(cell.accuracy is None or cell.partial for cell in cells):
            return None
        area = 0.0
        for one, other in pairwise(cells):
            area += (other.epsilon - one.epsilon) * ((one.accuracy or 0.0) + (other.accuracy or 0.0)) / 2
        length = cells[-1].epsilon - cells[0].epsilon
        return area / length if length else None


def _cell_of(row: Row) -> Cell:
    accuracy = None if row["accuracy"] is None else float(row["accuracy"])
    return Cell(float(row["epsilon"]), accuracy, row.get("low"), row.get("high"))


def key_of(row: Row) -> Key:
    return str(row["attack"]), str(row.get("source") or "")
