"""Thresholds of the sanity checks and of the masking diagnosis: data in thresholds.toml. Fast to import."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from afdctl.errors import RecipeError
from afdctl.formatting import format_count
from afdctl.recipe import toml_source
from afdctl.recipe.errors import place, validate
from afdctl.recipe.fields import Count, NonNegative, Table
from afdctl.recipe.load import Overrides, as_layer
from afdctl.recipe.toml_source import Layer

FILE: Final = Path(__file__).with_name("thresholds.toml")


class _Invalid(Table):
    excess: NonNegative
    unconfirmed: NonNegative


class _Unstable(Table):
    passes: NonNegative
    batch: NonNegative


class _Gradients(Table):
    dead: NonNegative
    flat: NonNegative
    misled: NonNegative
    confidence: NonNegative


class _Unfinished(Table):
    late: NonNegative


class _NotMonotone(Table):
    share: NonNegative
    one_step: NonNegative


class _Share(Table):
    share: NonNegative


class Gap(Table):
    """Differences of accuracies: a warning above one, a failure above the other."""

    warn: NonNegative
    fail: NonNegative


class _WithoutGradients(Table):
    share: NonNegative
    pgd: NonNegative


class _Impossible(Table):
    deviations: NonNegative


class Thresholds(Table):
    """The tables of thresholds.toml, which explains each value; `images` is the fewest that a share counts for."""

    images: Count
    D1: _Invalid
    D2: _Unstable
    D3: _Gradients
    D4: _Unfinished
    D5: _NotMonotone
    D6: _Share
    D7: Gap
    D8: _WithoutGradients
    D9: _Impossible
    D10: Gap

    def exceeded(self, count: int, n: int, share: float) -> bool:
        """Whether `count` of n images are more than a share, and more than coincidence."""
        return count >= self.images and _is_more(count, n, share)

    def coincidence(self, count: int, n: int, share: float) -> str:
        """Say, as the end of a sentence, that `count` of n images are more than a share, but too few; else nothing."""
        few = _is_more(count, n, share) and not self.exceeded(count, n, share)
        return f"; fewer than {format_count(self.images, 'image')} are a coincidence" if few else ""


def _is_more(count: int, n: int, share: float) -> bool:
    # 29 of 100 images are no more than 0.29, whose product with 100 is a little less than 29
    return count > share * n * (1 + 1e-9)


@lru_cache
def defaults() -> Thresholds:
    """Return the packaged thresholds."""
    return load()


def load(path: Path | None = None, overrides: Overrides = ()) -> Thresholds:
    """Return the packaged thresholds, changed by a file and by overrides such as `D7.fail=0.2`.

    Error: RecipeError with the place of each mistake.
    """
    layers = [toml_source.read(FILE)]
    if path is not None:
        layers.append(toml_source.read(path))
    if isinstance(overrides, Mapping):
        layers.append(as_layer(overrides, "thresholds: "))
    else:
        layers.append(toml_source.parse_assignments(overrides, "D7.fail=0.2"))
    values = toml_source.merge_all(layer.values for layer in layers)
    limits = validate(Thresholds, values, layers)
    for name, table in limits:
        if isinstance(table, Gap) and table.warn > table.fail:
            raise RecipeError(_disorder(name, table, layers))
    return limits


def _disorder(name: str, gap: Gap, layers: Sequence[Layer]) -> str:
    """Say that an indicator would fail before it warns; names the key that was changed last."""
    changed = [key for layer in layers[1:] for key in layer.values.get(name, {})][-1]
    other, bound = ("fail", "most") if changed == "warn" else ("warn", "least")
    value, limit = (f"{name}.{key} = {getattr(gap, key):g}" for key in (changed, other))
    return f"{place((name, changed), layers)}{value}: must be at {bound} {limit}"
