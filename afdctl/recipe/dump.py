"""A recipe as TOML, as a digest, and the JSON schema of recipe files."""

import json
from hashlib import sha256
from typing import Any

import tomli_w

from afdctl.recipe.schema import Recipe


def dump(recipe: Recipe) -> str:
    """Write a recipe as TOML with every value visible, except keys that are None."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def digest(recipe: Recipe) -> str:
    """Return the sha256 of the recipe's canonical JSON, in hexadecimal."""
    canonical = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def file_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, in which `extends` may supply every other key."""
    schema: dict[str, Any] = without_required(Recipe.model_json_schema())
    extends = {"type": "string", "description": "file to build on: relative to this one, or a packaged recipe"}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return schema


def without_required(schema: Any) -> Any:
    """Drop `required`; `oneOf` becomes `anyOf`, because a [defense] without a name matches several models."""
    if isinstance(schema, list):
        return [without_required(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # pydantic's `discriminator` is beside `oneOf`; elsewhere it is a key of the recipe
    dropped = {"required", "default", "title", *(["discriminator"] if "oneOf" in schema else [])}
    return {
        "anyOf" if key == "oneOf" else key: without_required(value)
        for key, value in schema.items()
        if key not in dropped
    }
