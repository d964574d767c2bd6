"""The models of a recipe's tables."""

import pytest

from afdctl import registry
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import DefenseConfig


@pytest.mark.parametrize("name", registry.DEFENSES)
def test_every_registered_defense_has_a_table_of_its_name(name: str) -> None:
    model = DefenseConfig.model_of({"name": name})
    assert model is not DefenseConfig
    assert model.model_fields["name"].annotation.__args__ == (name,)


def test_keys_of_some_names_only_are_keys() -> None:
    assert {key for entry in registry.DATASETS.values() for key in entry.keys} <= {*Data.model_fields}
    assert {key for entry in registry.ADVERSARIES.values() for key in entry.keys} <= {*AdversaryConfig.model_fields}


@pytest.mark.parametrize("name", registry.DEFENSES)
def test_the_variants_of_a_defense_are_values_of_a_key(name: str) -> None:
    descriptor, fields = registry.DEFENSES[name], DefenseConfig.model_of({"name": name}).model_fields
    values = fields[descriptor.variant].annotation.__args__ if descriptor.variant else ("",)
    assert set(values) == set(descriptor.styles)
