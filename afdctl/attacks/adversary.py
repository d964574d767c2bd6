"""The training adversary: a recipe's [attack] table, bound to a network and to a generator."""

from torch import Generator, Tensor, nn

from afdctl.attacks.captured import Captured
from afdctl.models.folding import FoldedTwin
from afdctl.recipe.schema import Attack
from afdctl.registry import ADVERSARIES, load

KNOBS = {"norm", "epsilon", "steps", "step_size", "random_start", "keep"}
"""What an attack is told; the table's other keys are for its schedule."""


class Adversary:
    """Makes x' (n, c, h, w) for a batch against the network's present weights; a schedule may change the `table`.

    `captured`: as a CUDA graph, which reads the weights where they lie and begins by folding them.
    """

    def __init__(self, network: nn.Module, attack: Attack, generator: Generator, captured: bool = False) -> None:
        self.table, self.generator = attack, generator
        self._twin = FoldedTwin(network)
        self._captured: Captured | None = None
        if captured:
            self._captured = Captured(self._present, [generator], "the attack", "set train.graphs = false")

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self._captured is None:
            return self._present(x, y)
        return self._captured(x, y, self.table)

    def against(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The same against another model than the twin."""
        generate = load(ADVERSARIES, self.table.name)
        knobs = self.table.model_dump(include=KNOBS, exclude_none=True)
        x_adv: Tensor = generate(model, x, y, generator=self.generator, **knobs)
        return x_adv

    def _present(self, x: Tensor, y: Tensor) -> Tensor:
        self._twin.refresh()
        return self.against(self._twin, x, y)
