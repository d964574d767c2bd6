"""A recipe as TOML, as a digest, and the schema of its file."""

import tomli

from afdctl.recipe import digest, dump, file_schema, load
from afdctl.recipe.defenses import AFD
from afdctl.recipe.schema import Recipe
from tests.recipe.smallest_recipe import Write


def test_a_dump_shows_every_value_but_none(write: Write) -> None:
    shown = tomli.loads(dump(load("x.toml")))
    assert set(shown) == {*Recipe.model_fields} - {"user_code"}
    assert set(shown["defense"]) == set(AFD.model_fields)
    assert "step_size" not in shown["attack"]


def test_equal_recipes_have_equal_digests(write: Write) -> None:
    write(child='extends = "x.toml"\n[attack]\nepsilon = "1/10"\n')
    assert digest(load("child.toml")) == digest(load("x.toml"))
    assert digest(load("x.toml", ["seed=1"])) != digest(load("x.toml"))
    assert len(bytes.fromhex(digest(load("x.toml")))) == 32


def test_the_schema_is_that_of_a_file() -> None:
    schema = file_schema()
    assert list(schema["properties"]) == ["extends", *Recipe.model_fields]
    assert schema["additionalProperties"] is False
    assert "fc3-pd" in schema["$defs"]["AFD"]["properties"]["discriminator"]["enum"]
    assert not any("required" in table for table in (schema, *schema["$defs"].values()))
