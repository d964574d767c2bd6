"""A recipe as text: TOML for people, a digest for comparing, the JSON schema for editors."""

import json
from hashlib import sha256
from typing import Any

import tomli_w

from afdctl.recipe.schema import Recipe


def dump(recipe: Recipe) -> str:
    """The recipe as TOML with every value visible; a key that is None is left out."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def digest(recipe: Recipe) -> str:
    """The sha256 of the recipe's canonical JSON, in hexadecimal."""
    canonical = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def file_schema() -> dict[str, Any]:
    """The JSON schema of a recipe's file, where `extends` may supply whatever the file leaves out."""
    schema: dict[str, Any] = partial(Recipe.model_json_schema())
    extends = {"type": "string", "description": "the file, relative to this one, or the packaged recipe to build on"}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return schema


def partial(schema: Any) -> Any:
    """The schema with nothing required; a `[defense]` without its name fits several kinds, so `oneOf` is `anyOf`."""
    if isinstance(schema, list):
        return [partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # `discriminator` is also the name of a key: pydantic's is the one beside `oneOf`
    left_out = {"required", "default", "title", *(["discriminator"] if "oneOf" in schema else [])}
    return {"anyOf" if key == "oneOf" else key: partial(value) for key, value in schema.items() if key not in left_out}
