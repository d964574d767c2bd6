"""The training adversary: the attack of a recipe's [attack] table, bound to a network and a generator."""

from typing import Final

from torch import Generator, Tensor, nn

from afdctl.attacks.union import msd, worst_of
from afdctl.losses import hard_labels
from afdctl.models.fused import FusedModel
from afdctl.recipe.defenses import AdversaryConfig
from afdctl.registry import ADVERSARIES, load

# Keys of the table that are arguments of the attack; the others belong to `AdversarySchedule`.
ATTACK_KEYS: Final = {"norm", "epsilon", "steps", "step_size", "random_start", "return_iterate"}


class Adversary:
    """Makes adversarial images x_adv (n, c, h, w) against the network's current weights.

    The trainer replaces `table` before each step, as epsilon, steps and the attack itself may change over the epochs.
    """

    def __init__(self, network: nn.Module, table: AdversaryConfig, generator: Generator) -> None:
        self.table, self.generator = table, generator
        # BatchNorm folded into the convolutions: 1.46 times as fast on MNIST, 1.27 times on CIFAR
        self._fused = FusedModel(network)

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
        generate = load(ADVERSARIES, self.table.name)
        if rule == "max":
            found = [generate(model, x, y, **arguments | {"norm": norm, "epsilon": balls[norm]}) for norm in balls]
            return worst_of(model, y, found)
        # under the rule "random", the schedule chooses one ball for each step
        x_adv: Tensor = generate(model, x, y, **arguments)
        return x_adv
