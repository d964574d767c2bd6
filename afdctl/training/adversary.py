"""The training adversary: the attack of a recipe's [attack] table, bound to a network and a generator."""

from typing import Any, Final

from torch import Generator, Tensor, nn

from afdctl.attacks.norms import clip_to_ball
from afdctl.attacks.union import msd, worst_of
from afdctl.errors import RecipeError
from afdctl.losses import hard_labels
from afdctl.models.fused import FusedModel
from afdctl.models.user_encoder import accepted
from afdctl.recipe.adversary import AdversaryConfig
from afdctl.registry import ADVERSARIES, load, user_code
from afdctl.user_code.code import UserCode, located

# Keys of the table that are arguments of the attack; the others belong to `AdversarySchedule`.
ATTACK_KEYS: Final = {"norm", "epsilon", "steps", "step_size", "random_start", "return_iterate"}


class Adversary:
    """Makes adversarial images x_adv (n, c, h, w) against the network's current weights.

    The trainer replaces `table` before each step, as epsilon, steps and the attack itself may change over the epochs.
    `precision` in it must not be `auto` any more.
    """

    def __init__(self, network: nn.Module, table: AdversaryConfig, generator: Generator) -> None:
        self.table, self.generator = table, generator
        # BatchNorm folded into the convolutions: 1.46 times as fast on MNIST, 1.27 times on CIFAR
        self._fused = FusedModel(network, table.precision)
        # once for all steps: a user may edit the file meanwhile, and the run has the code that it began with
        self._found: dict[str, tuple[Any, UserCode | None]] = {}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        # once a batch, because weights do not change during an attack
        self._fused.update()
        return self.attack(self._fused, x, y)

    def attack(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Run the table's attack against any model of the same classes; for mixed labels, on the larger share."""
        y = hard_labels(y)
        arguments = self.table.model_dump(include=ATTACK_KEYS, exclude_none=True) | {"generator": self.generator}
        rule = self.table.union.rule if self.table.union else None
        balls = self.table.balls
        if rule == "msd":
            del arguments["norm"], arguments["epsilon"]
            return msd(model, x, y, balls=balls, **arguments)
        if rule == "max":
            found = [self.generate(model, x, y, **arguments | {"norm": norm, "epsilon": balls[norm]}) for norm in balls]
            return worst_of(model, y, found)
        # under the rule "random", the schedule chooses one ball for each step
        return self.generate(model, x, y, **arguments)

    def generate(self, model: nn.Module, x: Tensor, y: Tensor, **arguments: Any) -> Tensor:
        """Call the attack; a user's gets those of the arguments that it takes, and its x' is clipped to the ball."""
        name = self.table.name
        if name not in self._found:
            self._found[name] = load(ADVERSARIES, name), user_code(ADVERSARIES, name)
        attack, code = self._found[name]
        if code is None:
            x_adv: Tensor = attack(model, x, y, **arguments)
            return x_adv
        with code.running(f"{attack.__name__}()"):
            x_adv = attack(model, x, y, **accepted(attack, arguments), **self.table.own_values(AdversaryConfig))
        if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
            found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
            raise RecipeError(f"{located(name)}: must return images of shape {tuple(x.shape)}, not {found}")
        return clip_to_ball(x_adv.detach().to(x), x, arguments["epsilon"], arguments["norm"])
