"""Attacks on a run: the planned cells of a sweep in progress, or all results of the journal that count."""

from dataclasses import dataclass, field

from afdctl.journal import Row, drop_superseded
from afdctl.runs.curves import auc
from afdctl.runs.selection import checkpoint_names, selected_clean, selected_curves

# an attack, and the run that its adversarial images were made on ('' for the run itself)
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One attack at one epsilon: accuracy in [0, 1] (None: not measured yet) and its confidence interval."""

    epsilon: float
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    partial: bool = False


@dataclass
class SweepProgress:
    """The cells of the latest sweep or, after it has ended, the results of the whole journal that count.

    `plan` is the row of the latest sweep; it is empty when the training was resumed after it.
    """

    plan: Row = field(default_factory=dict)
    # the checkpoints and cells of the journal, which decide which results count
    record: list[Row] = field(default_factory=list)
    # rows with the number and choice of the images of the results
    images: list[Row] = field(default_factory=list)
    # every finished cell of the journal by its key, which holds all that its accuracy depends on
    measured: dict[str, Cell] = field(default_factory=dict)
    cells: dict[Key, dict[float, Cell]] = field(default_factory=dict)
    norms: dict[Key, str] = field(default_factory=dict)
    # clean accuracy on the images that each attack was run on
    clean: dict[Key, float] = field(default_factory=dict)
    # the results of AutoAttack, whatever their label
    autoattack: set[Key] = field(default_factory=set)
    running: Key | None = None
    done: int = 0
    total: int = 0
    acc_nat: float | None = None
    ended: Row | None = None
    since: float = 0.0
    now: float = 0.0

    def add(self, row: Row) -> None:
        """Add a row. Errors: KeyError, TypeError, ValueError for one that cannot be read."""
        self.now = float(row.get("t") or self.now)
        match row["event"]:
            case "sweep":
                self._start(row)
            case "sweep_progress" | "sweep_block":
                self._add_part(row)
            case "cell":
                self._add_cell(row)
            case "sweep_end":
                self.ended, self.running = row, None
                self._show_results()
            case "checkpoint":
                # raises for an unreadable row, which would break every later use of the record
                checkpoint_names([row])
                self.record.append(row)

    def resume(self, row: Row) -> None:
        """Handle a resumed training: drop the sweep, and results of superseded checkpoints."""
        self.record = drop_superseded([*self.record, row])
        self.plan, self.ended, self.running, self.cells = {}, None, None, {}
        self._show_results()

    def _show_results(self) -> None:
        """Show the results that count, and the planned cells that a stopped sweep did not measure."""
        curves = selected_curves(self.record)
        planned = {
            key: {epsilon: cell for epsilon, cell in cells.items() if cell.partial or cell.accuracy is None}
            for key, cells in self.cells.items()
        }
        measured = {
            (attack, source or ""): {cell["epsilon"]: _cell_of(cell) for cell in curve.cells}
            for (attack, source), curve in curves.items()
        }
        self.cells = {key: planned.get(key, {}) | measured.get(key, {}) for key in [*planned, *measured]}
        self.norms |= {(attack, source or ""): curve.norm for (attack, source), curve in curves.items()}
        self.clean |= {(attack, source or ""): curve.accuracies[0] for (attack, source), curve in curves.items()}
        self.autoattack |= {(attack, source or "") for (attack, source), curve in curves.items() if curve.autoattack}
        self.images = [curve.cells[0] for curve in curves.values()] or self.images
        clean = selected_clean(self.record)
        self.acc_nat = clean["acc_nat"] if clean else None

    def _start(self, row: Row) -> None:
        self.plan, self.since, self.ended, self.running = row, self.now, None, None
        self.cells, self.images = {}, [row | {"n": int(row.get("n") or 0)}]
        for cell in row["cells"]:
            key, epsilon = key_of(cell), float(cell["epsilon"])
            self.norms[key] = str(cell.get("norm", ""))
            # results of earlier sweeps are not measured again
            self.cells.setdefault(key, {})[epsilon] = self.measured.get(str(cell["key"]), Cell(epsilon=epsilon))

    def _add_part(self, row: Row) -> None:
        key = key_of(row)
        self.running, self.done, self.total = key, int(row["done"]), int(row["n"])
        for text, accuracy in row["accuracy"].items():
            epsilon = self._planned_epsilon(key, float(text))
            if accuracy is not None and self._is_open(key, epsilon):
                self.cells.setdefault(key, {})[epsilon] = Cell(epsilon=epsilon, accuracy=float(accuracy), partial=True)

    def _add_cell(self, row: Row) -> None:
        key = key_of(row)
        epsilon = self._planned_epsilon(key, float(row["epsilon"]))
        self.norms.setdefault(key, str(row.get("norm", "")))
        # raises for an unreadable row, as above
        selected_curves([row])
        self.record.append(row)
        self.cells.setdefault(key, {})[epsilon] = self.measured[str(row["key"])] = _cell_of(row)
        self.acc_nat = self.clean[key] = row["acc_nat"]
        if row["spec"]["name"] == "aa":
            self.autoattack.add(key)
        if self.running == key and not any(self._is_open(key, other) for other in self.cells[key]):
            self.running = None

    def _is_open(self, key: Key, epsilon: float) -> bool:
        cell = self.cells.get(key, {}).get(epsilon)
        return cell is None or cell.accuracy is None or cell.partial

    def _planned_epsilon(self, key: Key, epsilon: float) -> float:
        """Return the planned epsilon that this one equals, apart from rounding in the journal."""
        return next((planned for planned in self.cells.get(key, {}) if abs(planned - epsilon) < 1e-6), epsilon)

    @property
    def norms_in_order(self) -> list[str]:
        """The norms, in the order of the plan."""
        return list(dict.fromkeys(self.norms.get(key, "") for key in self.cells))

    @property
    def lines(self) -> int:
        """How many rows its table needs below the first heading; each further norm adds a heading."""
        return len(self.cells) + max(0, len(self.norms_in_order) - 1)

    def attacks(self, norm: str) -> list[Key]:
        """Return the attacks of a norm, in the order of the plan."""
        return [key for key in self.cells if self.norms.get(key, "") == norm]

    def measured_attacks(self, norm: str) -> list[Key]:
        """Return the attacks of a norm that have an accuracy."""
        return [key for key in self.attacks(norm) if any(c.accuracy is not None for c in self.cells[key].values())]

    def epsilons(self, norm: str) -> list[float]:
        """Return all epsilons of a norm, ascending."""
        return sorted({epsilon for key in self.attacks(norm) for epsilon in self.cells[key]})

    @property
    def finished(self) -> int:
        """The number of measured cells."""
        return sum(
            cell.accuracy is not None and not cell.partial for row in self.cells.values() for cell in row.values()
        )

    @property
    def planned(self) -> int:
        """The number of cells."""
        return sum(map(len, self.cells.values()))

    @property
    def lacks_autoattack(self) -> bool:
        """Whether AutoAttack is neither measured nor planned as a white-box attack."""
        return not any(key[1] == "" and (key in self.autoattack or key[0] == "aa") for key in self.cells)

    def acc_clean(self, key: Key) -> float | None:
        """Return clean accuracy on the images of an attack; before its first result, that of the run."""
        return self.clean.get(key, self.acc_nat)

    def auc(self, key: Key) -> float | None:
        """Return the AUC of an attack once its whole grid is measured."""
        accuracies = {0.0: self.acc_clean(key)}
        accuracies |= {epsilon: None if cell.partial else cell.accuracy for epsilon, cell in self.cells[key].items()}
        points = sorted((epsilon, accuracy) for epsilon, accuracy in accuracies.items() if accuracy is not None)
        if len(points) < max(2, len(accuracies)):
            return None
        return auc(*zip(*points, strict=True))


def _cell_of(row: Row) -> Cell:
    accuracy = None if row["accuracy"] is None else float(row["accuracy"])
    return Cell(epsilon=float(row["epsilon"]), accuracy=accuracy, low=row.get("low"), high=row.get("high"))


def key_of(row: Row) -> Key:
    return str(row["attack"]), str(row.get("source") or "")
