"""The training adversary: a recipe's [attack] table, bound to a network and to a generator."""

from collections.abc import Hashable

from torch import Generator, Tensor, nn

from afdctl.attacks.captured import Captured
from afdctl.models.folding import FoldedTwin
from afdctl.recipe.schema import Attack
from afdctl.registry import ADVERSARIES, load


class Adversary:
    """Makes x' (n, c, h, w) for a batch against the network's present weights; a warm-up may change `epsilon`.

    `captured`: as a CUDA graph, which reads the weights where they lie and begins by folding them.
    """

    def __init__(self, network: nn.Module, attack: Attack, generator: Generator, captured: bool = False) -> None:
        self.epsilon = attack.epsilon
        self._twin = FoldedTwin(network)
        self._generate = load(ADVERSARIES, attack.name)
        self._generator = generator
        self._knobs = attack.model_dump(include={"norm", "steps", "random_start", "keep"})
        if attack.step_size is not None:
            self._knobs["step_size"] = attack.step_size
        self._captured: Captured | None = None
        if captured:
            self._captured = Captured(self._present, [generator], "the attack", "set train.graphs = false")

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self._captured is None:
            return self._present(x, y)
        return self._captured(x, y, self.settings)

    @property
    def generator(self) -> Generator:
        """What it draws from."""
        return self._generator

    @property
    def settings(self) -> Hashable:
        """All that a captured attack is frozen to."""
        return (self.epsilon, *self._knobs.items())

    def attack(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The same against another model than the twin."""
        x_adv: Tensor = self._generate(model, x, y, epsilon=self.epsilon, generator=self._generator, **self._knobs)
        return x_adv

    def _present(self, x: Tensor, y: Tensor) -> Tensor:
        self._twin.refresh()
        return self.attack(self._twin, x, y)
