"""Every mistake in a recipe, and its message."""

from pathlib import Path

import pytest

from afdctl.errors import RecipeError
from afdctl.recipe import load, loads
from tests.recipe.smallest_recipe import SMALLEST, Write

VALUES = [
    # a line of the smallest recipe, its replacement, the message
    (
        'name = "afd"',
        'name = "afd"\ngame = "wgn"',
        "x.toml:7: defense.game = \"wgn\": must be 'dcgan', 'wgan' or 'hinge'",
    ),
    ('name = "afd"', 'name = "afd"\ngp_wait = 1', "x.toml:7: defense.gp_wait: no such key (did you mean 'gp_weight'?)"),
    ('name = "afd"', 'name = "natural"\nlr_F = 0.1', "x.toml:7: defense.lr_F: no such key (did you mean 'lr_C'?)"),
    ('name = "afd"', 'name = "adf"', "x.toml:6: defense.name = \"adf\": no such name (did you mean 'afd'?)"),
    (
        'name = "afd"',
        "name = 3",
        "x.toml:6: defense.name = 3: must be text in quotes",
    ),
    ('name = "afd"', "", "x.toml:5: defense.name: missing; add it to [defense]"),
    ('name = "afd"', 'name = "afd"\nspectral_norm = 1', "x.toml:7: defense.spectral_norm = 1: must be true or false"),
    (
        'name = "afd"',
        'name = "afd"\nspectral_norm = "true"',
        'x.toml:7: defense.spectral_norm = "true": must be true or false; remove the quotes: true',
    ),
    (
        'name = "afd"',
        'name = "afd"\nupdate = "sequential"\nbatch_statistics = "joint"',
        'x.toml:8: defense.batch_statistics = "joint": joint needs update = "simultaneous"; the published order passes '
        "x and x' at different weights",
    ),
    ('name = "afd"', 'name = "afd"\nlr_D = -0.1', "x.toml:7: defense.lr_D = -0.1: must be at least 0"),
    ('name = "afd"', 'name = "afd"\nlr_D = inf', "x.toml:7: defense.lr_D = Infinity: must be finite"),
    ('name = "afd"', 'name = "afd"\nmomentum_D = 1', "x.toml:7: defense.momentum_D = 1: must be less than 1"),
    (
        'name = "afd"',
        'name = "afd"\nlr_D = "0.1"',
        'x.toml:7: defense.lr_D = "0.1": must be a number; remove the quotes: 0.1',
    ),
    ('name = "afd"', 'name = "afd"\nlr_D = "high"', 'x.toml:7: defense.lr_D = "high": must be a number'),
    (
        'name = "afd"',
        'name = "trades"',
        "x.toml:7: attack.name: defense 'trades' needs the adversary 'pgd_kl'",
    ),
    (
        'name = "afd"',
        'name = "adversarial"\nmargin = 0.2',
        "x.toml:7: defense.margin = 0.2: is of a cosine; set model.cosine_scale too, such as 15",
    ),
    (
        'name = "afd"',
        'name = "score"',
        "x.toml:7: attack.name: defense 'score' needs the adversary 'pgd_lse'",
    ),
    (
        'dataset = "digits"',
        'dataset = "minst"',
        "x.toml:2: data.dataset = \"minst\": no such name (did you mean 'mnist'?)",
    ),
    ('dataset = "digits"', "dataset = 3", "x.toml:2: data.dataset = 3: must be text in quotes"),
    ('dataset = "digits"', "", "x.toml:1: data.dataset: missing; add it to [data]"),
    (
        'dataset = "digits"',
        'dataset = "digits"\nimage_size = 32',
        "x.toml:3: data.image_size = 32: digits has no such key (only tiny_imagenet and folder can use it)",
    ),
    (
        'encoder = "lenet"',
        'encoder = "wrn-30-10"',
        'x.toml:4: model.encoder = "wrn-30-10": must be wrn-D-K with a depth D of 6n + 4 and K times the filters, such '
        "as wrn-28-10, wrn-34-10 or wrn-28-10-silu",
    ),
    (
        'encoder = "lenet"',
        'encoder = "timm:resnet18.a1_in1k"',
        'x.toml:4: model.encoder = "timm:resnet18.a1_in1k": must be timm:NAME with a name of timm.list_models(), such '
        "as timm:resnet18, without a tag of weights (model.weights names a file)",
    ),
    (
        'encoder = "lenet"',
        'encoder = "wrn-28-10"\nwidth = 64',
        "x.toml:5: model.width = 64: wrn-28-10 has no such key: its name decides the number of filters",
    ),
    (
        'encoder = "lenet"',
        'encoder = "lenet"\nweights = "a"\nweights_sha256 = "abc"',
        'x.toml:6: model.weights_sha256 = "abc": must be a SHA-256, 64 hexadecimal digits',
    ),
    (
        'encoder = "lenet"',
        f'encoder = "lenet"\nweights_sha256 = "{64 * "0"}"',
        f'x.toml:5: model.weights_sha256 = "{64 * "0"}": has no effect without model.weights; remove it',
    ),
    (
        "epochs = 2",
        'epochs = 2\nfreeze = ["F_theta"]',
        "x.toml:11: train.freeze = [\"F_theta\"]: defense 'afd' trains F_theta against x'; freeze it with another "
        "defense",
    ),
    (
        "epochs = 2",
        'epochs = 2\nfreeze = ["F_theta", "C_phi"]',
        'x.toml:11: train.freeze = ["F_theta", "C_phi"]: freezes the whole network; name F_theta or C_phi',
    ),
    (
        "epochs = 2",
        'epochs = 2\nfreeze = ["D_psi"]',
        "x.toml:11: train.freeze = [\"D_psi\"]: must be 'F_theta' or 'C_phi'",
    ),
    (
        'dataset = "digits"',
        'dataset = "digits"\npath = "photos"',
        'x.toml:3: data.path = "photos": digits has no such key (only folder and arrays can use it)',
    ),
    (
        'dataset = "digits"',
        'dataset = "folder"',
        "x.toml:1: data.image_size: missing; add it to [data]: images of a folder are resized to it",
    ),
    (
        'dataset = "digits"',
        'dataset = "folder"\nimage_size = 32\nchannels = 2',
        "x.toml:4: data.channels = 2: must be 1 or 3",
    ),
    (
        'dataset = "digits"',
        'dataset = "digits"\nholdout = 0',
        "x.toml:10: train.checkpoint_selection = \"robust\": 'robust' needs a hold-out; "
        'set data.holdout, or checkpoint_selection = "last"',
    ),
    ("epsilon = 0.1", "epsilon = 8", "x.toml:8: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?"),
    ("epsilon = 0.1", "epsilon = 0", "x.toml:8: attack.epsilon = 0: must be greater than 0"),
    ("epsilon = 0.1", "epsilon = inf", "x.toml:8: attack.epsilon = Infinity: must be finite"),
    (
        "epsilon = 0.1",
        'epsilon = "0.1"',
        'x.toml:8: attack.epsilon = "0.1": must be a number; remove the quotes: 0.1',
    ),
    (
        "epsilon = 0.1",
        'epsilon = "8/0"',
        'x.toml:8: attack.epsilon = "8/0": must be a number or a fraction such as "8/255"',
    ),
    ("epsilon = 0.1", "", "x.toml:7: attack.epsilon: missing; add it to [attack]"),
    ("epsilon = 0.1", "epsilon = 0.1\n[attack.step]", "x.toml:9: attack.step: no such key (did you mean 'steps'?)"),
    (
        "epsilon = 0.1",
        "epsilon = 0.1\nstep_size = 0.01",
        "x.toml:9: attack.step_size = 0.01: apgd_ce has no such key (only pgd, pgd_kl and pgd_lse can use it)",
    ),
    (
        "epsilon = 0.1",
        "epsilon = 0.1\nsteps_warmup_epochs = 1.5",
        "x.toml:9: attack.steps_warmup_epochs = 1.5: must be a whole number",
    ),
    (
        "epochs = 2",
        'epochs = 2\nmilestones = [1]\nschedule = "one_cycle"',
        'x.toml:12: train.schedule = "one_cycle": one_cycle lowers the learning rates itself; set milestones = []',
    ),
    (
        "epochs = 2",
        'epochs = 2\nmilestones = [1]\nschedule = "cosine"',
        'x.toml:12: train.schedule = "cosine": cosine lowers the learning rates itself; set milestones = []',
    ),
    (
        'name = "afd"',
        'name = "afd"\nmomentum_D = 0.0\nnesterov_D = true',
        "x.toml:8: defense.nesterov_D = true: needs momentum; set momentum_D, such as 0.9",
    ),
    (
        'dataset = "digits"',
        'dataset = "digits"\nextra = "generated.npz"',
        "x.toml:1: data.extra_share: missing; data.extra needs it",
    ),
    (
        'dataset = "digits"',
        'dataset = "digits"\ncutmix = 1e-300',
        "x.toml:3: data.cutmix = 1e-300: must be 0, which is off, or at least 0.01",
    ),
    (
        'dataset = "digits"',
        'dataset = "digits"\nextra_share = 0.5',
        "x.toml:3: data.extra_share = 0.5: needs data.extra, a file of images",
    ),
    (
        "epochs = 2",
        'epochs = 2\nschedule = "onecycle"',
        "x.toml:11: train.schedule = \"onecycle\": must be 'milestones', 'cosine' or 'one_cycle'",
    ),
    (
        "[attack]",
        '[attack]\nname = "n_fgsm"',
        "x.toml:7: attack.steps: n_fgsm takes one step; set steps = 1",
    ),
    (
        "[attack]",
        '[attack]\nname = "n_fgsm"\nsteps = 1\nsteps_warmup_epochs = 1',
        "x.toml:10: attack.steps_warmup_epochs = 1: n_fgsm takes one step in all epochs; remove this key",
    ),
    (
        "epochs = 2",
        "epochs = 2\nreference_batch_size = 1",
        "x.toml:11: train.reference_batch_size = 1: must be at least 2",
    ),
    (
        "epochs = 2",
        'epochs = 2\ncompile = "fast"',
        "x.toml:11: train.compile = \"fast\": must be false or one of 'default', 'reduce-overhead', 'max-autotune'",
    ),
    (
        "epochs = 2",
        "epochs = 2\ncompile = true",
        "x.toml:11: train.compile = true: must be false or one of 'default', 'reduce-overhead', 'max-autotune'",
    ),
    ("epochs = 2", "epochs = 2\nwarmup_fraction = 1", "x.toml:11: train.warmup_fraction = 1: must be less than 1"),
    ("epochs = 2", "epochs = 2.0", "x.toml:10: train.epochs = 2.0: must be a whole number; write 2"),
    ("epochs = 2", "epochs = true", "x.toml:10: train.epochs = true: must be a whole number"),
    ("epochs = 2", 'epochs = "2"', 'x.toml:10: train.epochs = "2": must be a whole number; remove the quotes: 2'),
    ("epochs = 2", "epochs = 0", "x.toml:10: train.epochs = 0: must be at least 1"),
    ("epochs = 2", "epochs = 2\nlr_decay = 2", "x.toml:11: train.lr_decay = 2: must be at most 1"),
    (
        "epochs = 2",
        "epochs = 2\nmilestones = [\n  80,\n  50,\n]",
        "x.toml:11: train.milestones = [80, 50]: must ascend, such as [50, 80]",
    ),
    ("epochs = 2", "epochs = 2\nmilestones = [0]", "x.toml:11: train.milestones = [0]: must be at least 1"),
    ("epochs = 2", "epochs = 2\nmilestones = 1", "x.toml:11: train.milestones = 1: must be a list, such as [50, 80]"),
    ("[train]\nepochs = 2", "", "x.toml: train.epochs: missing; add it to [train]"),
    (
        "[train]\nepochs = 2",
        "[trian]\nepochs = 2",
        "x.toml: train.epochs: missing; add it to [train]\nx.toml:9: trian: no such key (did you mean 'train'?)",
    ),
    (
        "[data]",
        'fidelity = "offical"\n[data]',
        "x.toml:1: fidelity = \"offical\": must be 'sound', 'paper' or 'official'",
    ),
    ("[data]", "fidelity = []\n[data]", "x.toml:1: fidelity = []: must be 'sound', 'paper' or 'official'"),
    ("[data]", "seed = -1\n[data]", "x.toml:1: seed = -1: must be at least 0"),
    ("[data]", 'extend = "y.toml"\n[data]', "x.toml:1: extend: no such key (did you mean 'extends'?)"),
    (
        "[data]",
        "extends = 3\n[data]",
        "x.toml:1: extends = 3: must be text in quotes, a path or a packaged name",
    ),
    (
        "[data]",
        'extends = "y.toml"\n[data]',
        'x.toml:1: extends = "y.toml": no such file beside this one, and no packaged recipe '
        "(`afdctl recipes ls` lists them)",
    ),
    (
        "[data]",
        'extends = "mnist_wgna"\n[data]',
        'x.toml:1: extends = "mnist_wgna": no such file beside this one, and no packaged recipe '
        "(did you mean 'mnist_wgan'?)",
    ),
    ("[data]", "[data", "x.toml:1:6: not TOML: expected ']' at the end of a table declaration"),
    (
        "epsilon = 0.1",
        "epsilon = 8/255  # as usual",
        "x.toml:8:12: not TOML: expected newline or end of document after a statement; "
        'text needs quotes: epsilon = "8/255"',
    ),
    ('name = "afd"', "name = afd", 'x.toml:6:8: not TOML: invalid value; text needs quotes: name = "afd"'),
    ("epochs = 2", "epochs = 2\nepochs = 3", "x.toml:11: train.epochs: already set in line 10; keep one of them"),
    ("[train]", "[train]\nepochs = 3\n[train]", "x.toml:11: train: already set in line 9; keep one of them"),
    (
        "epochs = 2",
        "epochs.x = 2\nepochs.x = [\n3]",
        "x.toml:12: train.epochs.x: already set in line 10; keep one of them",
    ),
]

OVERRIDES = [
    ("attack.epsilon=8", "--set attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?"),
    ("attack.epsilonn=8", "--set attack.epsilonn: no such key (did you mean 'epsilon'?)"),
    ("trian.epochs=3", "--set trian: no such key (did you mean 'train'?)"),
    ("train.epochs=many", '--set train.epochs = "many": must be a whole number'),
    ("train.epochs.x=1", "--set train.epochs: must be a whole number"),
    ("train=2", "--set train = 2: must be a table; set one of its keys, such as train.epochs or train.batch_size"),
    ("defense=2", "--set defense = 2: must be a table; set one of its keys, such as defense.name or defense.lr_C"),
    ("train.epochs", "--set train.epochs: write --set key.sub=value"),
    ("=3", "--set =3: write --set key.sub=value"),
    ("train..epochs=3", "--set train..epochs=3: write --set key.sub=value"),
    (
        "defense.name=trades",
        "x.toml:7: attack.name: defense 'trades' needs the adversary 'pgd_kl'",
    ),
]

NAMES = [
    ("nosuch.toml", "nosuch.toml: no such recipe (`afdctl recipes ls` lists the packaged ones)"),
    ("mnist_wgam", "mnist_wgam: no such recipe (did you mean 'mnist_wgan'?)"),
    ("elsewhere/mnist_wgan.toml", "elsewhere/mnist_wgan.toml: no such recipe (did you mean 'mnist_wgan'?)"),
    (".", ".: cannot be read: is a folder, not a regular file"),
]


def complaint(recipe: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(recipe, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("line", "instead", "message"), VALUES, ids=[message for *_, message in VALUES])
def test_a_mistake_in_a_file(write: Write, line: str, instead: str, message: str) -> None:
    assert SMALLEST.count(line) == 1
    assert complaint(write(x=SMALLEST.replace(line, instead))) == message


@pytest.mark.parametrize(("override", "message"), OVERRIDES)
def test_a_mistake_on_the_command_line(write: Write, override: str, message: str) -> None:
    assert complaint(write(x=SMALLEST), override) == message


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_recipe_that_does_not_exist(write: Write, name: str, message: str) -> None:
    assert complaint(name) == message


def test_all_mistakes_are_reported_at_once_each_with_its_layer(write: Write) -> None:
    write(base=SMALLEST.replace("epochs = 2", "epochs = 0"))
    child = write(child='extends = "base.toml"\n[attack]\nepsilon = 8\nstep = 3\n')
    assert complaint(child, "defense.gama=1", "seed=x").split("\n") == [
        '--set seed = "x": must be a whole number',
        "--set defense.gama: no such key (did you mean 'game'?)",
        "child.toml:3: attack.epsilon = 8: images are in [0, 1]; did you mean 8/255?",
        "child.toml:4: attack.step: no such key (did you mean 'steps'?)",
        "base.toml:10: train.epochs = 0: must be at least 1",
    ]


def test_a_missing_key_is_never_missing_from_the_command_line(write: Write) -> None:
    recipe = write(x=SMALLEST.replace("epsilon = 0.1", ""))
    assert complaint(recipe, "attack.steps=3") == "x.toml:7: attack.epsilon: missing; add it to [attack]"


def test_a_circle_of_extends_is_shown(write: Write) -> None:
    write(b='extends = "c.toml"', c='seed = 1\nextends = "b.toml"')
    message = (
        'c.toml:2: extends = "b.toml": the files extend each other in a circle: a.toml -> b.toml -> c.toml -> b.toml'
    )
    assert complaint(write(a='extends = "b.toml"')) == message


def test_a_file_that_is_not_utf8(write: Write) -> None:
    Path("latin1.toml").write_bytes("# größer".encode("latin-1"))
    assert complaint("latin1.toml") == "latin1.toml: not UTF-8 (byte 4); save the file as UTF-8"


def test_a_file_that_may_not_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint("x.toml") == "x.toml: cannot be read: Permission denied"


def test_a_dump_that_was_changed_by_hand() -> None:
    with pytest.raises(RecipeError, match=r"^recipe\.toml:10: train\.epochs = 0: must be at least 1$"):
        loads(SMALLEST.replace("epochs = 2", "epochs = 0") + 'checkpoint_selection = "last"\n')
