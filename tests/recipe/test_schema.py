"""The models of a recipe's tables."""

from afdctl import registry
from afdctl.recipe.data import Data
from afdctl.recipe.defenses import DEFENSES, AdversaryConfig
from afdctl.recipe.fields import KEYS_BY_KIND


def test_every_registered_defense_has_a_table() -> None:
    assert set(DEFENSES) == set(registry.DEFENSES)
    assert {model.model_fields["name"].annotation.__args__ for model in DEFENSES.values()} == {
        (name,) for name in DEFENSES
    }


def test_keys_of_some_kinds_only_name_keys_and_kinds_that_exist() -> None:
    assert set(KEYS_BY_KIND) <= {*Data.model_fields, *AdversaryConfig.model_fields}
    assert {kind for kinds in KEYS_BY_KIND.values() for kind in kinds} <= {*registry.DATASETS, *registry.ADVERSARIES}
