from pathlib import Path

import pytest

from tests.recipe.smallest_recipe import SMALLEST, Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files (name=text) into an empty working directory, where `x.toml` is the smallest valid recipe."""
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(SMALLEST)

    def write_files(**texts: str) -> str:
        for name, text in texts.items():
            Path(f"{name}.toml").write_text(text)
        return f"{next(iter(texts))}.toml"

    return write_files
