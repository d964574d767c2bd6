"""Notes on runs that were trained in a union of balls: their accuracy in all of them, for Table 1 and the report."""

from collections.abc import Iterable, Iterator

from afdctl.evaluation.union import UnionAccuracy, recorded_union, trained_union
from afdctl.formatting import NORM_LABELS, format_epsilon, join_words
from afdctl.runs.record import Record


def union_notes(records: Iterable[Record]) -> Iterator[str]:
    """Yield a line for each run of a union, with what it lacks where it was not measured in every ball."""
    for record in records:
        if balls := trained_union(record.recipe):
            shown = join_words([f"{NORM_LABELS[norm]} {format_epsilon(epsilon)}" for norm, epsilon in balls.items()])
            union = recorded_union(record)
            yield f"{record.name} in the union of {shown}: {_describe(union) if union else MISSING}."


MISSING = "not measured; it needs an attack in each ball, at its radius and on the same images (`afdctl sweep`)"


def _describe(union: UnionAccuracy) -> str:
    low, high = (f"{100 * end:.1f}" for end in union.interval)
    alone = ", ".join(f"{NORM_LABELS[norm]} {100 * accuracy:.1f}" for norm, accuracy in union.alone.items())
    attacks = ", ".join(title for titles in union.attacks.values() for title in titles)
    return (
        f"{100 * union.accuracy:.1f} % (95 % interval {low} to {high}; each alone: {alone}), of {union.n:,} images "
        f"that none of {attacks} fooled in any ball"
    )
