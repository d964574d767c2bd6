"""`afdctl recipes` through its own command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from afdctl.cli.recipes import app
from afdctl.errors import RecipeError
from afdctl.recipe import digest, load, loads, packaged


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def recipes(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_ls_names_every_packaged_recipe() -> None:
    heading, *rows = recipes("ls").stdout.splitlines()
    assert heading.split() == ["name", "data", "set", "method", "epsilon", "attack", "steps", "epochs"]
    assert [row.split()[0] for row in rows] == list(packaged())
    assert ["mnist_wgan", "mnist", "AFD-WGAN", "0.3", "apgd_ce", "40", "100"] in [row.split() for row in rows]


def test_ls_json_is_one_object() -> None:
    found = json.loads(recipes("ls", "--json").stdout)
    assert found["schema"] == "afdctl/1"
    rows = {row["name"]: row for row in found["recipes"]}
    assert rows["cifar10_wgan"]["epsilon"] == 8 / 255
    assert (rows["digits_at_awp"]["defense"], rows["digits_at_awp"]["method"]) == ("adversarial", "AT-AWP")


def test_show_prints_the_resolved_toml() -> None:
    result = recipes("show", "mnist_wgan", "--set", "seed=3", "--set", "attack.steps=5")
    assert loads(result.stdout) == load("mnist_wgan", ["seed=3", "attack.steps=5"])


def test_show_json_is_one_object() -> None:
    found = json.loads(recipes("show", "mnist_wgan", "--json").stdout)
    assert found["digest"] == digest(load("mnist_wgan"))
    assert found["recipe"] == load("mnist_wgan").model_dump(mode="json")


@pytest.mark.parametrize("name", packaged())
def test_a_copy_works_where_it_is_put(name: str) -> None:
    assert recipes("cp", name).stdout == f"{name}.toml\n"
    assert Path(f"{name}.toml").read_bytes() == packaged()[name].read_bytes()
    assert load(f"{name}.toml") == load(name)


def test_cp_takes_a_file_or_a_folder() -> None:
    Path("folder").mkdir()
    assert recipes("cp", "mnist_at", "folder").stdout == "folder/mnist_at.toml\n"
    assert recipes("cp", "mnist_at", "mine.toml").stdout == "mine.toml\n"
    assert Path("mine.toml").read_bytes() == Path("folder/mnist_at.toml").read_bytes()


def test_cp_overwrites_only_by_force() -> None:
    Path("mnist_at.toml").write_text("mine")
    refused = recipes("cp", "mnist_at").exception
    assert isinstance(refused, RecipeError)
    assert str(refused) == "mnist_at.toml: exists; pass --force to overwrite it"
    assert Path("mnist_at.toml").read_text() == "mine"
    assert recipes("cp", "mnist_at", "--force").exit_code == 0
    assert load("mnist_at.toml") == load("mnist_at")


def test_cp_of_a_file_onto_itself_keeps_it() -> None:
    Path("mine.toml").write_text("seed = 1")
    recipes("cp", "mine.toml", "--force")
    assert Path("mine.toml").read_text() == "seed = 1"


def test_cp_into_a_folder_that_is_not_there() -> None:
    refused = recipes("cp", "mnist_at", "no/where.toml").exception
    assert str(refused) == "DEST no/where.toml: there is no folder no; make it first, or end a folder's name with /"
    assert recipes("cp", "mnist_at", "no/").stdout == "no/mnist_at.toml\n"
    assert load("no/mnist_at.toml") == load("mnist_at")


def test_validate_names_the_good_and_every_problem_of_the_bad() -> None:
    Path("bad.toml").write_text('extends = "mnist_wgan"\nsed = 1\n[attack]\nepsilon = 8\n')
    result = recipes("validate", "mnist_wgan", "bad.toml", "nosuch.toml")
    assert result.exit_code == 2
    assert result.stdout == "ok mnist_wgan\n"
    assert result.stderr.splitlines() == [
        "error: bad.toml:4: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?",
        "error: bad.toml:2: sed: no such key (did you mean 'seed'?)",
        "error: nosuch.toml: no such recipe (`afdctl recipes ls` lists the packaged ones)",
    ]


def test_validate_of_good_recipes_succeeds() -> None:
    assert recipes("validate", *map(str, packaged().values())).exit_code == 0


def test_schema_is_json_schema() -> None:
    assert json.loads(recipes("schema").stdout)["properties"]["extends"]["type"] == "string"


BROKEN = """
import sys
sys.argv = ["afdctl", "recipes", "show", "bad.toml"]
from afdctl.cli import main
try:
    main()
finally:
    assert not {"torch", "numpy", "h5py", "torchvision"} & set(sys.modules)
"""


def test_a_broken_recipe_ends_with_2_one_line_and_without_torch() -> None:
    Path("bad.toml").write_text('extends = "mnist_wgan"\n[attack]\nepsilon = 8\n')
    # the package need not be installed, and the working directory is not the checkout
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False, env=environment)
    message = "error: bad.toml:3: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", message)
