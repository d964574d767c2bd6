"""The packaged recipes."""

import re
from itertools import product
from pathlib import Path

import pytest
import tomli

from afdctl.recipe import dump, file_schema, load, loads, packaged
from afdctl.recipe.defenses import AFD
from afdctl.recipe.load import folder

FILES = sorted({*folder().glob("*.toml"), *folder().glob("bases/*.toml")})
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet")
DEFENSES = {"nt": "natural", "at": "adversarial", "trades": "trades", "dcgan": "afd", "wgan": "afd"}
# methods of further papers
BASELINES = ("mart", "score", "alp", "fgsm_rs", "n_fgsm", "at_he", "at_awp", "trades_awp", "at_ema", "trades_ema")
MORE = {
    *(f"{dataset}_{kind}" for dataset, kind in product(("digits", "mnist", "cifar10"), BASELINES)),
    "mnist_wgan_official",
    "mnist_matching",
    "mnist_wgan_fc1pd",
    "mnist_wgan_fc3",
    "mnist_wgan_fast",
    "cifar10_wgan_fast",
    "cifar10_at_preact",
    "folder_wgan",
    "arrays_wgan",
    "digits_afd",
    "mnist_afd",
    "mnist_quick",
    "fashion_mnist_afd",
    "cifar10_afd",
}

# Table A1: epochs, scheduled epochs, WGAN GP, and section 4.1: epsilon under `fidelity = "paper"`
TABLE_A1 = {
    "mnist": (100, (50, 80), 0.0, 0.3),
    "cifar10": (300, (150, 250), 1.0, 0.031),
    "cifar100": (300, (150, 250), 0.0, 0.031),
    "tiny_imagenet": (500, (300, 450), 0.0, 0.016),
}


def test_all_are_there() -> None:
    assert set(packaged()) == {f"{dataset}_{kind}" for dataset, kind in product(DATASETS, DEFENSES)} | MORE


@pytest.mark.parametrize(("dataset", "kind"), [*product(DATASETS, DEFENSES)])
def test_a_recipe_is_what_its_name_says(dataset: str, kind: str) -> None:
    recipe = load(f"{dataset}_{kind}")
    assert (recipe.data.dataset, recipe.defense.name) == (dataset, DEFENSES[kind])
    assert not isinstance(recipe.defense, AFD) or recipe.defense.game == kind
    # AT on MNIST is trained as mnist_afd
    adversary = {"trades": "pgd_kl", "at": "pgd" if "mnist" in dataset else "apgd_ce"}
    assert recipe.attack.name == adversary.get(kind, "apgd_ce")


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10"])
def test_the_baselines_are_what_their_names_say(dataset: str) -> None:
    recipes = {kind: load(f"{dataset}_{kind}") for kind in BASELINES}
    methods = [recipe.method for recipe in recipes.values()]
    assert methods == [
        *("MART", "SCORE", "ALP", "FGSM-RS", "N-FGSM"),
        *("AT-HE", "AT-AWP", "TRADES-AWP", "AT-LS", "TRADES-LS"),
    ]
    # a single step without noise is no FGSM-RS
    assert load(f"{dataset}_fgsm_rs", ["attack.random_start=false"]).method == "AT"
    one_step = recipes["fgsm_rs"].attack
    # 1.25 epsilon, and always the iterate after the step
    assert (one_step.steps, one_step.return_iterate) == (1, "last")
    assert one_step.step_size == pytest.approx(1.25 * one_step.epsilon)
    assert recipes["n_fgsm"].attack.name == "n_fgsm"
    for kind in ("at_ema", "trades_ema"):
        train, defense = recipes[kind].train, recipes[kind].defense
        assert min(train.ema_decay, train.warmup_fraction or 0, defense.label_smoothing) > 0


@pytest.mark.parametrize("dataset", TABLE_A1)
def test_wgan_recipes_follow_table_a1(dataset: str) -> None:
    recipe = load(f"{dataset}_wgan", ["fidelity=paper"])
    train, afd = recipe.train, recipe.defense
    assert isinstance(afd, AFD)
    assert (train.epochs, train.milestones, afd.gp_weight, recipe.attack.epsilon) == TABLE_A1[dataset]
    assert (afd.lr_F, afd.lr_D, afd.lr_C, train.batch_size, train.lr_decay) == (0.5, 0.1, 0.1, 128, 0.1)
    assert {afd.weight_decay_C, afd.weight_decay_D, afd.weight_decay_F} == {1e-4}
    assert {afd.momentum_C, afd.momentum_D, afd.momentum_F} == {0.9}
    assert (recipe.model.width, afd.hidden) == ((16, 64) if dataset == "mnist" else (64, 512))


@pytest.mark.parametrize(("name", "discriminator"), [("", "fc3-pd"), ("_fc1pd", "fc1-pd"), ("_fc3", "fc3")])
def test_the_discriminators_of_table_a5(name: str, discriminator: str) -> None:
    assert load(f"mnist_wgan{name}") == load("mnist_wgan", [f"defense.discriminator={discriminator}"])


def test_mnist_wgan_official_is_the_preset() -> None:
    assert load("mnist_wgan_official") == load("mnist_wgan", ["fidelity=official"])


@pytest.mark.parametrize(("name", "fidelity"), [*product(packaged(), ("sound", "paper", "official"))])
def test_a_dump_is_read_back_as_the_same_recipe(tmp_path: Path, name: str, fidelity: str) -> None:
    recipe = load(name, [f"fidelity={fidelity}"])
    written = tmp_path / "recipe.toml"
    written.write_text(dump(recipe))
    assert loads(dump(recipe)) == load(str(written)) == recipe


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_has_a_comment_with_its_source(path: Path) -> None:
    values = [line for line in path.read_text().splitlines() if re.match(r"[\w.]+ *=", line)]
    assert values
    assert [line for line in values if not re.search(r"[^ ] +# \w", line)] == []


def test_the_schema_accepts_them() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(file_schema())
    assert [path.name for path in FILES if not validator.is_valid(tomli.loads(path.read_text()))] == []
