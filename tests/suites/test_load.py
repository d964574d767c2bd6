"""Suites: the attacks that a name, a file and the command line select, and the messages of mistakes."""

from pathlib import Path
from typing import Any

import pytest

from afdctl import registry
from afdctl.errors import RecipeError
from afdctl.suites.load import load, packaged, read
from afdctl.suites.schema import ATTACKS

NINE = {"fgsm", "pgd_l1", "pgd_l2", "pgd_linf", "mim", "ddn", "deepfool", "cw", "aa"}


def titles(name: str, dataset: str) -> set[str]:
    return {spec.title for spec in load(name, dataset).attacks}


def test_every_attack_of_the_registry_has_a_schema():
    assert set(ATTACKS) == set(registry.ATTACKS)


@pytest.mark.parametrize("name", packaged())
def test_packaged_suites_are_right_in_every_row(name: str):
    assert len(read(packaged()[name])) > 5


@pytest.mark.parametrize("dataset", registry.DATASETS)
def test_the_default_and_table_a2_cover_every_data_set(dataset: str):
    assert titles("paper-A2", dataset) == NINE
    assert titles("strong", dataset) == NINE - {"pgd_l1"} | {"apgd_l1"}


def test_grids_of_table_a2():
    """Table A2 and the notes on its step sizes: relative to epsilon for PGD-L2, absolute for CIFAR's PGD."""
    mnist = {spec.title: spec for spec in load("paper-A2", "mnist").attacks}
    assert mnist["pgd_l1"].epsilons == (0, 10, 50, 100, 200)
    assert mnist["aa"].epsilons == (0, 0.2, 0.3, 0.35)
    assert mnist["pgd_l2"].max_distance(5) == pytest.approx(1.25)
    assert mnist["pgd_linf"].max_distance(0.3) == pytest.approx(40 / 30)
    cifar = {spec.title: spec for spec in load("paper-A2", "cifar10").attacks}
    assert cifar["pgd_linf"].max_distance(32 / 255) == pytest.approx(1.25)
    assert cifar["fgsm"].epsilons[-1] == 64 / 255


def test_the_default_suite_can_cross_every_ball():
    for dataset in registry.DATASETS:
        for spec in load("strong", dataset).attacks:
            distances = [spec.max_distance(epsilon) for epsilon in spec.epsilons[1:]]
            assert all(distance is None or distance >= 2 for distance in distances)


def test_a_row_for_the_data_set_wins_over_one_for_all(tmp_path: Path):
    file = tmp_path / "my.toml"
    file.write_text(
        '[[attack]]\nname = "cw"\nepsilons = [0, 1]\n[[attack]]\nname = "cw"\ndatasets = ["mnist"]\nepsilons = [0, 2]\n'
    )
    assert [spec.epsilons for spec in load(str(file), "mnist").attacks] == [(0, 2)]
    assert [spec.epsilons for spec in load(str(file), "digits").attacks] == [(0, 1)]


def test_the_command_line_chooses_and_changes():
    suite = load(
        "strong", "mnist", attacks=["pgd_linf", "noise"], epsilons=(0, 0.25), overrides=["schedule=independent"]
    )
    assert [(spec.title, spec.epsilons, spec.order) for spec in suite.attacks] == [
        ("pgd_linf", (0, 0.25), "independent"),
        ("noise", (0, 0.25), "independent"),
    ]


def test_a_parameter_is_set_where_the_attack_has_it():
    """FGSM has no steps; PGD does."""
    fgsm, pgd = load("strong", "mnist", attacks=["fgsm", "pgd_linf"], overrides=["steps=7"]).attacks
    assert "steps" not in fgsm.attack_kwargs()
    assert pgd.attack_kwargs()["steps"] == 7


def test_settings_that_differ_from_the_suite_are_listed():
    def changed(*attacks: str, **more: Any) -> dict[str, tuple[str, ...]]:
        return dict(load("strong", "mnist", attacks=attacks, **more).changed)

    assert set(changed().values()) == {()}
    own = load("strong", "mnist", attacks=["pgd_linf"]).attacks[0]
    assert changed("pgd_linf", overrides=["steps=1"], epsilons=(0.0, 0.1)) == {"pgd_linf": ("epsilons", "steps")}
    assert changed("pgd_linf", overrides=[f"steps={own.model_dump()['steps']}"], epsilons=own.epsilons) == {
        "pgd_linf": ()
    }
    # an attack that the suite lacks has its defaults, on the suite's grid
    assert changed("apgd_ce") == {"apgd_ce": ()}
    assert changed("apgd_ce", overrides=["steps=3"]) == {"apgd_ce": ("steps",)}


def test_an_attack_named_twice_runs_once():
    assert len(load("strong", "mnist", attacks=["fgsm", "fgsm"]).attacks) == 1


def test_an_attack_that_the_suite_lacks_takes_the_grid_of_its_norm():
    (spec,) = load("strong", "mnist", attacks=["fab_t"]).attacks
    assert spec.epsilons == (0, 0.1, 0.2, 0.3, 0.35, 0.4)


MISTAKES = {
    'name = "pgd_lin"\nepsilons = [0, 1]': ":2: attack.name = \"pgd_lin\": no such name (did you mean 'pgd_linf'?)",
    'name = "cw"\nepsilons = [0.5, 1]': ":3: cw.epsilons = [0.5, 1]: must begin with 0",
    'name = "cw"\nepsilons = [0, 2, 1]': ":3: cw.epsilons = [0, 2, 1]: must ascend",
    'name = "fgsm"\nepsilons = [0, 8]': ":3: fgsm.epsilons = [0, 8]: images are in [0, 1]; did you mean 8/255?",
    'name = "cw"\nepsilons = [0, 1]\nstep = 5': ":4: cw.step: no such key (did you mean 'steps'?)",
    'name = "cw"\nepsilons = [0, 1]\nsteps = 0': ":4: cw.steps = 0: must be at least 1",
    'name = "cw"\nepsilons = [0, 1]\nsteps = "5"': ':4: cw.steps = "5": must be a whole number; remove the quotes: 5',
    'name = "cw"': ":1: cw.epsilons: missing",
    "epsilons = [0, 1]": ":1: attack.name: missing; add it to [[attack]]",
    'name = "cw"\nepsilons = [0, 1]\nschedule = "ascending"': ':4: cw.schedule = "ascending": this attack has once',
    'name = "pgd_l2"\nepsilons = [0, 1]\nnorm = "linf"': ":1: pgd_l2: pgd_l2 cannot have norm = 'linf'; name pgd_linf",
    'name = "mim"\nepsilons = [0, 1]\nrel_step = 0.1\nstep_size = 0.1': "give one of them",
    'name = "cw"\nepsilons = [0, 1]\ndatasets = ["mnst"]': ':4: cw.datasets = ["mnst"]: no such name (did you mean',
    'name = ["aa"]\nepsilons = [0, 1]': ':2: attack.name = ["aa"]: no such name (known: ',
    'name = "aa"\nepsilons = [0]': ":3: aa.epsilons = [0]: has no epsilon to attack at",
    'name = "aa"\nepsilons = [0, 0.1000001, 0.1000002]': "must ascend, and differ in the first six digits",
    'name = "aa"\nepsilons = [0, 0.1]\nlabel = "../aa"': ':4: attack.label = "../aa": must be letters, digits',
    'name = "aa"\nepsilons = [0, 0.1]\n[[attack]]\nname = "aa"\nepsilons = [0, 0.2]': ":4: aa: is also defined at ",
    'name = "aa"\nepsilons = [-1, 0]': ":3: aa.epsilons = [-1, 0]: must be at least 0",
}


@pytest.mark.parametrize(("row", "message"), MISTAKES.items())
def test_a_mistake_names_file_line_and_remedy(tmp_path: Path, row: str, message: str):
    file = tmp_path / "my.toml"
    file.write_text(f"[[attack]]\n{row}\n")
    with pytest.raises(RecipeError) as error:
        load(str(file), "mnist")
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[attack]\n", "not TOML"),
        ("[attack]\nname = 'cw'\n", "attack: has no [[attack]] table"),
        ("attack = [1, 2]\n", "my.toml:1: attack = 1: must be a table"),
        ("titel = 'x'\n", "my.toml:1: titel: no such key (did you mean 'title'?)"),
        ("title = 'x'\n", "attack: has no [[attack]] table"),
    ],
)
def test_a_file_that_is_no_suite(tmp_path: Path, text: str, message: str):
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=r"my\.toml") as error:
        load(str(file), "mnist")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attacks": ["pgd_lnf"]}, "--attacks pgd_lnf: no such attack (did you mean 'pgd_linf'?)"),
        ({"attacks": ["aa"], "overrides": ["steps"]}, "--set steps: write --set key=value"),
        (
            {"attacks": ["aa"], "overrides": ["stepz=1"]},
            "--set stepz: no selected attack has this key (did you mean 'steps'?)",
        ),
        ({"attacks": ["aa"], "overrides": ["epsilons=1"]}, "--set epsilons: no selected attack has this key"),
        ({"attacks": ["aa"], "overrides": ["steps=0"]}, "--set aa.steps = 0: must be at least 1"),
        ({"epsilons": (0, 1)}, "--epsilons: one grid cannot serve the norms l1 and l2 and linf"),
        (
            {"attacks": ["aa"], "epsilons": (0, 8)},
            "--epsilons: aa.epsilons = [0, 8]: images are in [0, 1]; did you mean 8/255?",
        ),
        ({"attacks": ["fgsm"], "overrides": ["restarts=2"]}, "--set restarts: no selected attack has this key"),
    ],
)
def test_a_mistake_on_the_command_line(arguments: dict[str, object], message: str):
    with pytest.raises(RecipeError) as error:
        load("strong", "mnist", **arguments)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(
        'titel = "x"\n[[attack]]\nname = "cw"\nepsilons = [0, 1]\nsteps = 0\n[[attack]]\nname = "fgms"\n'
        '[[attack]]\nname = "cw"\nlabel = "far"\nepsilons = [0, 9, 8]\n'
    )
    with pytest.raises(RecipeError) as error:
        load("my.toml", "mnist")
    assert [line.split(";")[0] for line in str(error.value).split("\n")] == [
        "my.toml:5: cw.steps = 0: must be at least 1",
        "my.toml:7: attack.name = \"fgms\": no such name (did you mean 'fgsm'?)",
        "my.toml:11: far.epsilons = [0, 9, 8]: must ascend, and differ in the first six digits, such as [0, 0.1, 0.3]",
        "my.toml:1: titel: no such key (did you mean 'title'?)",
    ]


def test_inline_tables_are_read_too(tmp_path: Path):
    file = tmp_path / "my.toml"
    file.write_text('attack = [{name = "cw", epsilons = [0, 1]}]\n')
    assert [config.title for config in load(str(file), "mnist").attacks] == ["cw"]
    file.write_text('attack = [{name = "cw", epsilons = [0, 1], steps = 0}]\n')
    with pytest.raises(RecipeError, match=r"my\.toml:1: cw\.steps = 0: must be at least 1"):
        load(str(file), "mnist")


def test_an_attack_without_a_grid_of_its_norm_needs_one():
    with pytest.raises(RecipeError, match="--attacks apgd_l1: the suite has no grid for norm l1; name --epsilons"):
        load("paper-notebook", "digits", attacks=["apgd_l1"])


def test_an_unknown_suite():
    with pytest.raises(RecipeError, match="did you mean 'strong'"):
        load("strnog", "mnist")
    with pytest.raises(RecipeError, match="has no attack for digits"):
        load("paper-notebook", "digits")


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
@pytest.mark.parametrize("suite", ["strong", "paper-A2"])
@pytest.mark.parametrize(("given", "other"), [("step_size", "rel_step"), ("rel_step", "step_size")])
def test_a_given_step_replaces_that_of_the_suite(dataset: str, suite: str, given: str, other: str):
    """Absolute or relative: the row has one of the two."""
    for attack in load(suite, dataset, attacks=["pgd_linf", "mim"], overrides=[f"{given}=0.01"]).attacks:
        assert getattr(attack, given) == 0.01
        assert getattr(attack, other) is None
    with pytest.raises(RecipeError, match="step_size and rel_step: give one of them"):
        load(suite, dataset, attacks=["mim"], overrides=["step_size=0.01", "rel_step=0.1"])
