"""The models of a recipe's tables."""

from afdctl import registry
from afdctl.recipe.schema import DEFENSES, Attack, Data
from afdctl.recipe.values import ONLY


def test_every_registered_defense_has_a_table() -> None:
    assert set(DEFENSES) == set(registry.DEFENSES)
    assert {model.model_fields["name"].annotation.__args__ for model in DEFENSES.values()} == {
        (name,) for name in DEFENSES
    }


def test_keys_of_some_kinds_only_name_keys_and_kinds_that_exist() -> None:
    assert set(ONLY) <= {*Data.model_fields, *Attack.model_fields}
    assert {kind for kinds in ONLY.values() for kind in kinds} <= {*registry.DATASETS, *registry.ADVERSARIES}
