"""What a user set, kept in a small file from one start to the next."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from afdctl.errors import DiskFullError
from afdctl.runs import files
from afdctl.tui.view import AXES, BETAS, SIDES, THEMES, WINDOWS, Settings

ALLOWED = {"beta": BETAS, "axis": AXES, "window": WINDOWS, "theme": ("", *THEMES)}


def file() -> Path:
    """Where the settings lie, by the XDG rules."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "afdctl" / "dashboard.json"


def load() -> Settings:
    """The settings; whatever is not as it should be is as if it had never been set."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        stored = json.loads(file().read_text())
        known = {field.name: field.type for field in fields(Settings)}
        values = {name: value for name, value in stored.items() if name in known and _fits(name, value)}
        if isinstance(hidden := values.get("hidden"), list):
            values["hidden"] = tuple(pane for pane in hidden if pane in SIDES)
        return Settings(**values)
    return Settings()


def save(kept: Settings) -> None:
    """Keep the settings; a home that cannot be written to is no reason to fail."""
    path = file()
    with suppress(OSError, DiskFullError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(asdict(kept), indent=2) + "\n")


def _fits(name: str, value: object) -> bool:
    if name in ALLOWED:
        return value in ALLOWED[name]
    return isinstance(value, list if name == "hidden" else bool)
