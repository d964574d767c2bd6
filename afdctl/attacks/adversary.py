"""The training adversary: a recipe's [attack] table, bound to a network and to a generator."""

from torch import Generator, Tensor, nn

from afdctl.models.folding import FoldedTwin
from afdctl.recipe.schema import Attack
from afdctl.registry import ADVERSARIES, load


class Adversary:
    """Makes x' (n, c, h, w) for a batch against the network's present weights; a warm-up may change `epsilon`."""

    def __init__(self, network: nn.Module, attack: Attack, generator: Generator) -> None:
        self.epsilon = attack.epsilon
        self._twin = FoldedTwin(network)
        self._generate = load(ADVERSARIES, attack.name)
        self._generator = generator
        self._knobs = attack.model_dump(include={"norm", "steps", "random_start", "keep"})
        if attack.step_size is not None:
            self._knobs["step_size"] = attack.step_size

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self._twin.refresh()
        return self.attack(self._twin, x, y)

    def attack(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The same against another model than the twin."""
        x_adv: Tensor = self._generate(model, x, y, epsilon=self.epsilon, generator=self._generator, **self._knobs)
        return x_adv
