"""The training adversary: a recipe's [attack] table, bound to a network and to a generator."""

from torch import Generator, Tensor, nn

from afdctl.models.fused import FusedModel
from afdctl.recipe.schema import Attack
from afdctl.registry import ADVERSARIES, load

KNOBS = {"norm", "epsilon", "steps", "step_size", "random_start", "return_iterate"}
"""What an attack is told; the table's other keys are for its schedule."""


class Adversary:
    """Makes x' (n, c, h, w) for a batch against the network's present weights; a schedule may change the `table`."""

    def __init__(self, network: nn.Module, attack: Attack, generator: Generator) -> None:
        self.table, self.generator = attack, generator
        self._fused = FusedModel(network)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self._fused.update()
        return self.against(self._fused, x, y)

    def against(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The same against another model than the fused copy."""
        generate = load(ADVERSARIES, self.table.name)
        knobs = self.table.model_dump(include=KNOBS, exclude_none=True)
        x_adv: Tensor = generate(model, x, y, generator=self.generator, **knobs)
        return x_adv
