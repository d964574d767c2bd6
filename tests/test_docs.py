"""Test that the README and docs/ match the code: commands, options, recipe keys, links and the list of modules."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from afdctl.cli import app
from afdctl.journal.events import EVENTS
from afdctl.recipe.schema import Recipe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DEVELOPER_PAGES = [ARCHITECTURE, ROOT / "CONTRIBUTING.md"]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each `afdctl ...` in an indented block, a fenced block or a code span."""
    blocks = re.findall(r"^    (.+)$", text, re.M) + re.findall(r"`([^`\n]+)`", text)
    for block in blocks:
        lexer = shlex.shlex(block.removeprefix("$ "), posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split, words = True, list[str]()
        try:
            words = list(lexer)
        except ValueError:
            # an output with an apostrophe in it
            continue
        if not re.fullmatch(r"(\S*/)?(afdctl|pip|python3?)", words[0] if words else ""):
            continue
        commands: list[list[str]] = [[]]
        for word in words:
            if set(word) <= set("|;&<>"):
                commands.append([])
            else:
                commands[-1].append(word)
        yield from (command for command in commands if command and command[0].rpartition("/")[2] == "afdctl")


def unknown_words(words: list[str]) -> list[str]:
    """Return the commands and options of a command line that do not exist."""
    command: Any = typer.main.get_command(app)
    unknown = []
    for word in words[1:]:
        if hasattr(command, "commands") and not word.startswith("-"):
            if word not in command.commands:
                # prose names groups, such as `afdctl runs ls | show`
                return [*unknown, word] if word.isidentifier() else unknown
            command = command.commands[word]
        elif word.startswith("--"):
            options = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
            unknown += [word] if word.partition("=")[0] not in options | {"--help"} else []
    return unknown


@pages
def test_commands_and_options_exist(page: Path):
    assert [word for words in command_lines(page.read_text()) for word in unknown_words(words)] == []


def test_unknown_commands_and_options_are_found():
    text = "    afdctl train x --sed 1 | afdctl swep - # --no\n\nand `afdctl runs ls --were a=b`, `afdctl runs fly`"
    found = [unknown_words(words) for words in command_lines(text)]
    assert found == [["--sed"], ["swep"], ["--were"], ["fly"]]


def recipe_keys(table: str) -> set[str]:
    """Return the keys of a recipe's table, with those of all defenses for `defense`."""
    schema = Recipe.model_json_schema()
    return set(properties(schema["properties"][table], schema["$defs"]))


def properties(node: Any, definitions: dict[str, Any]) -> Iterator[str]:
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    yield from node.get("properties", {})
    for variant in [*node.get("oneOf", []), *node.get("anyOf", []), *node.get("allOf", [])]:
        yield from properties(variant, definitions)


@pages
def test_recipe_keys_exist(page: Path):
    text = page.read_text()
    named = re.findall(r"(?:`|--set |--grid )(data|model|defense|attack|train|validation|test)\.(\w+)(?=[` =])", text)
    assert [f"{table}.{key}" for table, key in named if key not in recipe_keys(table)] == []


def test_some_recipe_keys_are_checked():
    assert {"epsilon", "steps"} <= recipe_keys("attack")
    assert {"lr_D", "beta"} <= recipe_keys("defense")


def test_the_metrics_of_results_h5_exist():
    text = (ROOT / "docs" / "scripting.md").read_text()
    rows = text.partition("| metric | meaning |")[2].partition("\n\n")[0].splitlines()[2:]
    metrics = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    fields = {name.rstrip("?") for event in EVENTS.values() for name in event}
    assert len(metrics) > 10
    assert [name for name in metrics if name not in fields] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES[1:] if page.name not in readme] == []


@pytest.mark.parametrize("command", ["pip install '.[test]'", "afdctl train recipes/digits_afd.toml", "pytest"])
def test_ci_runs_the_commands_of_the_readme(command: str):
    script = re.sub(r"\"\$bin/(\w+)\"", r"\1", (ROOT / ".ci" / "run").read_text()).replace(" --quiet", "")
    assert command in script
    assert f"/bin/{command}" in (ROOT / "README.md").read_text().replace("pip install --quiet", "pip install")


def listed_modules(text: str) -> list[str]:
    """Return the paths of the modules in the tree of docs/architecture.md."""
    tree = re.search(r"^    afdctl/\n((?:      .*\n)+)", text, re.M)
    assert tree, "no tree that begins with `    afdctl/`"
    folders, modules = list[str](), list[str]()
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip()) - 6) // 2
        name = line.split()[0]
        folders[depth:] = [name.rstrip("/")] if name.endswith("/") else []
        if name.endswith(".py"):
            modules.append("/".join([*folders, name]))
    return modules


def test_the_architecture_has_a_line_for_every_module():
    package = ROOT / "afdctl"
    modules = [path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(listed_modules(ARCHITECTURE.read_text())) == sorted(modules)


def located(path: str) -> Path:
    """Return the path of a file or folder that a page names from the root of the repository or of the package."""
    return ROOT / path if (ROOT / path).exists() else ROOT / "afdctl" / path


def missing_paths(text: str) -> list[str]:
    named = re.findall(r"`([\w/]+(?:\.(?:py|toml|md)|/))[`:]", text)
    return [path for path in named if not located(path).exists()]


def missing_names(text: str) -> list[str]:
    """Return the names in phrases such as `module.py` `name` and `name` in `module.py` that the module lacks."""
    named = re.findall(r"`([\w/]+\.py)`[^`\n]{0,3}`([\w.]+)\(?\)?`", text)
    named += [(path, name) for name, path in re.findall(r"`(\w+)` in\s+`([\w/]+\.py)`", text)]
    return [f"{path}: {name}" for path, name in named if not defines(located(path).read_text(), name)]


def defines(source: str, name: str) -> bool:
    return bool(re.search(rf"\b(def|class) {name.rpartition('.')[2]}\b|^{name}\b", source, re.M))


@pytest.mark.parametrize("page", DEVELOPER_PAGES, ids=lambda page: page.name)
def test_paths_and_names_in_the_code_exist(page: Path):
    text = page.read_text()
    assert missing_paths(text) == []
    assert missing_names(text) == []


def test_missing_paths_and_names_are_found():
    assert missing_paths("`metrics.py`, `recipes/`, `tests/test_docs.py` and `runs/nosuch.py`") == ["runs/nosuch.py"]
    text = "`names.py` `load`, `registry.py` `unload()`, `ATTACKS` in `registry.py` and `PANES` in `registry.py`"
    assert missing_names(text) == ["registry.py: unload", "registry.py: PANES"]


def factor_rows(name: str) -> set[tuple[str, str]]:
    """Return the seeds and the difference to the first row of each variant of a study's table."""
    lines = (ROOT / f"recipes/results/factors_{name}.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {(row[-2], row[1]) for row in cells if len(row) > 4}


def test_differences_of_factors_are_those_of_the_studies() -> None:
    text = (ROOT / "docs/recipes.md").read_text().partition("One change at a time")[2].split("\n\n")[1]
    table = re.findall(r"^\| [^|]+ \|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", text, re.M)[1:]
    assert len(table) > 10
    on_mnist, on_digits = factor_rows("mnist"), factor_rows("digits")
    for mnist, mnist_seeds, digits, digits_seeds in ([cell.strip() for cell in row] for row in table):
        assert mnist == "" or (mnist, mnist_seeds) in on_mnist
        assert digits == "" or (digits, digits_seeds) in on_digits
