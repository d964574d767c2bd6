"""Test the precedence of bases, presets, files and the command line."""

from pathlib import Path

import pytest

from afdctl.errors import RecipeError
from afdctl.recipe import load, packaged
from afdctl.recipe.defenses import AFD, Trades
from afdctl.recipe.presets import preset_rows
from afdctl.recipe.toml_places import key_paths
from tests.recipe.smallest_recipe import SMALLEST, Write


def test_a_file_overrides_the_file_that_it_extends(write: Write) -> None:
    write(root=SMALLEST, middle='extends = "root.toml"\nseed = 1\n[train]\nepochs = 3\nbatch_size = 7\n')
    recipe = load(write(leaf='extends = "middle.toml"\n[train]\nepochs = 4\n'))
    assert (recipe.seed, recipe.train.epochs, recipe.train.batch_size) == (1, 4, 7)
    assert recipe.attack.epsilon == 0.1


def test_extends_is_relative_to_its_file(write: Write) -> None:
    Path("inner").mkdir()
    Path("inner/leaf.toml").write_text('extends = "../root.toml"\nseed = 5\n')
    write(root=SMALLEST)
    assert load("inner/leaf.toml").seed == 5


def test_a_packaged_recipe_can_be_extended_from_anywhere(write: Write) -> None:
    recipe = load(write(mine='extends = "mnist_wgan"\n[train]\nepochs = 1\n'))
    assert recipe.train.epochs == 1
    assert recipe.defense == load("mnist_wgan").defense


@pytest.mark.parametrize("spelling", ["mnist_wgan", "mnist_wgan.toml", "recipes/mnist_wgan.toml"])
def test_a_packaged_recipe_is_found_by_name(write: Write, spelling: str) -> None:
    assert load(spelling) == load(str(packaged()["mnist_wgan"]))


def test_a_file_hides_the_packaged_recipe_of_its_name(write: Write) -> None:
    Path("mnist_wgan.toml").write_text('extends = "mnist_wgan"\nseed = 9\n')
    assert load("mnist_wgan.toml").seed == 9
    assert load("mnist_wgan").seed == 0


def test_a_byte_order_mark_and_windows_line_ends_are_read(write: Write) -> None:
    Path("windows.toml").write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load("windows.toml") == load("x.toml")


@pytest.mark.parametrize(
    ("override", "epsilon"),
    [("attack.epsilon=0.2", 0.2), ("attack.epsilon=8/255", 8 / 255), ('attack . epsilon = "8/255"', 8 / 255)],
)
def test_an_override_is_toml_or_else_text(write: Write, override: str, epsilon: float) -> None:
    assert load("x.toml", [override]).attack.epsilon == epsilon


def test_overrides_win_over_the_file_and_the_last_one_wins(write: Write) -> None:
    recipe = load("x.toml", ["train.epochs=5", "train.epochs=6", "train.milestones=[3, 4]", "defense.game=hinge"])
    assert (recipe.train.epochs, recipe.train.milestones) == (6, (3, 4))
    assert isinstance(recipe.defense, AFD)
    assert recipe.defense.game == "hinge"


def test_milestones_past_the_end_are_allowed_for_short_trials() -> None:
    assert load("mnist_wgan", ["train.epochs=2"]).train.milestones == (50, 80)


FIDELITIES = [
    # what differs, recipe, and its value under sound, paper, official
    ("attack.return_iterate", "mnist_wgan", "best_loss", "best_loss", "last_success"),
    ("attack.return_iterate", "mnist_at", "best_loss", "best_loss", "last_success"),
    ("attack.return_iterate", "mnist_trades", "last", "last", "last"),
    ("attack.epsilon", "cifar10_nt", 8 / 255, 0.031, 8 / 255),
    ("attack.epsilon", "cifar100_wgan", 8 / 255, 0.031, 8 / 255),
    ("attack.epsilon", "tiny_imagenet_wgan", 0.016, 0.016, 0.016),
    ("defense.update", "mnist_dcgan", "simultaneous", "simultaneous", "sequential"),
    ("defense.lr_D", "mnist_wgan", 0.1, 0.1, 0.5),
    ("defense.lr_D", "cifar10_wgan", 0.1, 0.1, 0.1),
    ("defense.weight_decay_C", "mnist_wgan", 1e-4, 1e-4, 1e-4),
    ("defense.weight_decay_D", "mnist_wgan", 0.0, 1e-4, 0.0),
    ("defense.weight_decay_F", "mnist_wgan", 0.0, 1e-4, 0.0),
    ("defense.gp_weight", "cifar10_wgan", 1.0, 1.0, 0.0),
    ("defense.gp_weight", "cifar10_dcgan", 0.0, 0.0, 0.0),
    ("defense.gp_weight", "cifar100_wgan", 0.0, 0.0, 0.0),
    ("data.holdout", "mnist_wgan", 5000, 5000, 0),
    ("data.holdout", "digits_wgan", 200, 200, 0),
    ("train.checkpoint_selection", "mnist_wgan", "probe", "last", "last"),
    ("train.checkpoint_selection", "digits_wgan", "robust", "last", "last"),
    ("test.step_size", "mnist_wgan", 0.02, 0.01, 0.01),
    ("train.checkpoint_selection", "mnist_nt", "last", "last", "last"),
    ("train.epochs", "mnist_at", 8, 90, 90),
    ("train.ema_decay", "mnist_at", 0.998, 0.0, 0.0),
    ("attack.steps", "mnist_at", 10, 40, 40),
    ("model.width", "mnist_at", 48, 16, 16),
    ("defense.beta", "mnist_trades", 6.0, 1.0, 1.0),
    ("defense.batch_statistics", "mnist_trades", "joint", "separate", "separate"),
    ("defense.batch_statistics", "mnist_afd", "joint", "separate", "separate"),
    ("train.epochs", "mnist_nt", 100, 20, 20),
    ("train.epochs", "mnist_wgan", 100, 100, 100),
    ("train.milestones", "mnist_at", (), (40, 80), (40, 80)),
]


@pytest.mark.parametrize(("key", "name", "sound", "paper", "official"), FIDELITIES)
def test_a_preset_sets_what_the_paper_and_its_code_differ_on(
    key: str, name: str, sound: object, paper: object, official: object
) -> None:
    table, column = key.split(".")
    found = {
        fidelity: getattr(getattr(load(name, [f"fidelity={fidelity}"]), table), column)
        for fidelity in ("sound", "paper", "official")
    }
    assert found == {"sound": sound, "paper": paper, "official": official}


def test_each_preset_sets_the_same_keys() -> None:
    for row in preset_rows():
        assert set(key_paths(row["sound"])) == set(key_paths(row["paper"])) == set(key_paths(row["official"])) != set()


def test_without_a_fidelity_a_recipe_is_sound() -> None:
    assert load("mnist_wgan") == load("mnist_wgan", ["fidelity=sound"])


def test_a_file_and_the_command_line_win_over_the_preset(write: Write) -> None:
    mine = write(mine='extends = "mnist_wgan"\nfidelity = "official"\n[attack]\nreturn_iterate = "last"\n')
    recipe = load(mine, ["defense.update=simultaneous"])
    assert isinstance(recipe.defense, AFD)
    assert (recipe.attack.return_iterate, recipe.defense.update, recipe.defense.lr_D) == ("last", "simultaneous", 0.5)


def test_overrides_win_over_a_fidelity_on_the_command_line(write: Write) -> None:
    overrides = ["fidelity=official", "attack.return_iterate=last"]
    for ordered in (overrides, overrides[::-1]):
        recipe = load("mnist_wgan", ordered)
        assert (recipe.fidelity, recipe.attack.return_iterate, recipe.data.holdout) == ("official", "last", 0)


def test_another_defense_inherits_only_the_keys_that_both_have() -> None:
    overrides = ["defense.name=trades", "attack.name=pgd_kl", "defense.beta=2"]
    recipe = load("mnist_wgan", [*overrides, "fidelity=paper"])
    assert recipe.defense == Trades(name="trades", lr_C=0.1, momentum_C=0.9, weight_decay_C=1e-4, beta=2)


def test_another_adversary_or_data_set_inherits_only_the_keys_that_both_have() -> None:
    recipe = load("tiny_imagenet_trades", ["defense.name=adversarial", "attack.name=apgd_ce", "data.dataset=cifar10"])
    assert (recipe.attack.step_size, recipe.attack.steps, recipe.data.image_size) == (None, 10, None)


def test_a_mistyped_key_of_the_base_is_not_lost_with_its_defense(write: Write) -> None:
    write(base=SMALLEST.replace('name = "afd"', 'name = "afd"\ngama = 1'))
    with pytest.raises(RecipeError, match=r"^base\.toml:7: defense\.gama: no such key"):
        load(write(child='extends = "base.toml"\n[defense]\nname = "natural"\n'))
