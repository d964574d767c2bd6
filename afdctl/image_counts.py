"""Name in words how many test images a result is on, and how they were chosen."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from afdctl.errors import RecipeError, option
from afdctl.formatting import format_range

# rules by which test images are chosen, other than `all`
SUBSET_LABELS: Final[Mapping[str, str]] = {"sample": "random sample", "first": "first images"}


def format_n(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format numbers of images as `n = 360` or `n = 500 to 10,000, random sample`; empty for no rows.

    Rows are those of `format_subset`.
    """
    rows = list(rows)
    return ", ".join([f"n = {format_range(row['n'] for row in rows)}", *subset_labels(rows)]) if rows else ""


def subset_labels(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """List how the images of results were chosen, where that is not the whole split."""
    subsets = dict.fromkeys(row.get("subset") or "" for row in rows)
    return [SUBSET_LABELS[subset] for subset in subsets if subset in SUBSET_LABELS]


def format_subset(row: Mapping[str, Any], noun: str = "") -> str:
    """Format the number and choice of a result's images: `360`, `100 (random sample)`, `first 100`.

    A row has `n`, and perhaps `subset` and `split_n`, as in the journal; `noun` follows the number.
    """
    count = f"{row['n']:,} {noun}".rstrip()
    first = f"the first {count}" if noun else f"first {count}"
    return {"first": first, "sample": f"{count} (random sample)"}.get(row.get("subset", ""), count)


def describe_images(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format the test images of results: `360 test images`, `100 of 360 test images, random sample`.

    Rows are those of `format_subset`; different ones are joined by `and`.
    """
    texts: dict[tuple[int, str], None] = {}
    for row in rows:
        n, split_n, subset = row["n"], row.get("split_n"), row.get("subset")
        part = f"{n:,} of {split_n:,} test images" if split_n and n < split_n else f"{n:,} test images"
        texts[n, {"first": f"first {part}", "sample": f"{part}, random sample"}.get(subset or "", part)] = None
    return " and ".join(text for _, text in sorted(texts))


def check_images(limit: int | None, first: int | None) -> None:
    """Raise RecipeError for both options that choose test images, and for what is no number of images."""
    for name, count in (("limit", limit), ("first", first)):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise RecipeError(f"{option(name, repr(count))}: must be a whole number of images, at least 1")
    if limit and first:
        both = f"{option('limit', str(limit))} and {option('first', str(first))}"
        raise RecipeError(f"{both}: take a random sample and the first images; leave one out")
