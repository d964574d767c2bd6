"""Notes below a table that compare its rows on the images that they share (McNemar)."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from afdctl.export.groups import Group, dataset_title
from afdctl.export.tables import paper
from afdctl.formatting import format_epsilon
from afdctl.journal import Row
from afdctl.runs.paired import PairedTest, format_p, paired_test
from afdctl.runs.record import Record


class Attack(NamedTuple):
    """A white-box attack whose results are compared: its name in the journal, and in the note."""

    name: str
    title: str


AA = Attack("aa", "AA-L∞")
PGD = Attack("pgd_linf", "PGD-L∞")


def paired_notes(groups: Sequence[Group], attacks: Sequence[Attack], records: Sequence[Record]) -> Iterator[str]:
    """Yield a note for each attack and number of images, with each pair of rows of a data set.

    A pair is compared under the first of the attacks that both rows have at the data set's L∞ epsilon. Of rows with
    several runs, those of the same seed are compared.
    """
    notes: dict[str, list[str]] = {}
    for first, second in combinations(groups, 2):
        if first.dataset != second.dataset:
            continue
        epsilon = paper.linf_epsilon(first.dataset, records)
        for attack in attacks:
            if tests := _tests(first, second, attack, epsilon):
                where = f"{attack.title} {format_epsilon(tests[0].epsilon)} on {dataset_title(first.dataset)}"
                for condition, result in _results(tests):
                    # the later row is the newer method, in the paper's order
                    notes.setdefault(condition.format(where), []).append(
                        f"{second.label} against {first.label}: {result}"
                    )
                break
    for condition, results in notes.items():
        yield f"{condition}: {'; '.join(results)}."


def _tests(first: Group, second: Group, attack: Attack, epsilon: float) -> list[PairedTest]:
    """Test the runs of two rows in pairs: the only ones, or those of one seed. Empty if either lacks the attack."""
    single = len(first.records) == len(second.records) == 1
    pairs = [
        (one, cell, other, other_cell)
        for one in first.records
        for other in second.records
        if (single or one.seed == other.seed)
        and (cell := _cell(one, attack, epsilon))
        and (other_cell := _cell(other, attack, epsilon))
    ]
    return [paired_test(one, cell, other, other_cell) for one, cell, other, other_cell in pairs]


def _cell(record: Record, attack: Attack, epsilon: float) -> Row | None:
    """Return a run's cell of a white-box attack that a table shows at this epsilon."""
    curve = record.curves.get((attack.name, None))
    return curve.nearest_cell(epsilon) if curve else None


def _results(tests: Sequence[PairedTest]) -> Iterator[tuple[str, str]]:
    """Yield the condition that tests share, with `{}` for the attack, and their p values or why there are none."""
    by_condition: dict[str, list[str]] = {}
    for test in tests:
        if test.p is not None:
            condition = f"McNemar under {{}}, {test.n:,} shared images"
            by_condition.setdefault(condition, []).append(format_p(test.p))
        else:
            by_condition.setdefault("Not compared under {}", []).append(str(test.reason))
    for condition, texts in by_condition.items():
        yield condition, ", ".join(dict.fromkeys(texts) if condition.startswith("Not") else texts)
