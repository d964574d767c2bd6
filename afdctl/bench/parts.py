"""Which part of a defense's step is at work: the attack, C, D, F, or an optimizer, seen from outside."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from afdctl.defenses.base import Attacker, Defense
from afdctl.models.feature_classifier import FeatureNorm

PARTS: Final = ("attack", "C", "D", "F", "optimizer")


class Parts(TorchFunctionMode):
    """While entered, calls `on_switch` with the name of each part of a step when it begins.

    A part lasts until the next one begins. What two losses share belongs to the one that cannot do without it: z to C,
    z' to F, and features without a graph to D. A backward pass belongs to the weights that it is for.
    """

    def __init__(self, defense: Defense, on_switch: Callable[[str], None]) -> None:
        super().__init__()
        self.defense, self.on_switch = defense, on_switch
        self.now = "optimizer"
        self.has_game = "F" in defense.optimizers
        self.players = {name: members(module) for name, module in defense.modules.items()}
        self.head = members(defense.network.C_phi)
        self._x_adv: Tensor | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        # hooks of torch keep references, so all of them are taken back
        network = self.defense.network
        self._open.enter_context(network.F_theta.register_forward_pre_hook(self._encodes))
        self._open.enter_context(network.C_phi.register_forward_pre_hook(lambda *_: self.switch("C")))
        if D_psi := self.defense.modules.get("D_psi"):
            self._open.enter_context(D_psi.register_forward_pre_hook(lambda *_: self.switch("D")))
        for optimizer in self.defense.optimizers.values():
            # no hook: torch calls one inside of the region that it names itself, and the two would overlap in a trace
            self._open.callback(delattr, optimizer, "step")
            vars(optimizer)["step"] = self._optimizes(optimizer.step)
        self._open.callback(setattr, self.defense, "adversary", self.defense.adversary)
        self.defense.adversary = self._watched(self.defense.adversary)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.autograd.grad and self.now != "attack":
            self._goes_back(args[1])
        return func(*args, **(kwargs or {}))

    def switch(self, part: str) -> None:
        """Begin a part."""
        self.now = part
        self.on_switch(part)

    def _watched(self, adversary: Attacker) -> Attacker:
        def attack(x: Tensor, y: Tensor) -> Tensor:
            self.switch("attack")
            self._x_adv = adversary(x, y)
            self.switch("C")
            return self._x_adv

        return attack

    def _optimizes(self, step: Callable[[], None]) -> Callable[[], None]:
        def update() -> None:
            self.switch("optimizer")
            step()

        return update

    def _encodes(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.has_game:
            self.switch("C")
        elif not torch.is_grad_enabled():
            self.switch("D")
        else:
            self.switch("F" if args[0] is self._x_adv else "C")

    def _goes_back(self, inputs: Sequence[Tensor]) -> None:
        """A gradient for these tensors is wanted; one for features, as in a penalty, belongs to what is at work."""
        wanted = {id(tensor) for tensor in inputs}
        if wanted & self.head:
            self.switch("C")
        elif wanted & self.players.get("D_psi", set()):
            self.switch("D")
        elif wanted & self.players["network"]:
            self.switch("F" if self.has_game else "C")


class Tally:
    """Adds up how much a gauge rises in each part of a step; `by_part` holds the sums."""

    def __init__(self, gauge: Callable[[], float], begin: str = "C") -> None:
        self.gauge = gauge
        self.by_part = dict.fromkeys(PARTS, 0.0)
        self._now, self._since = begin, gauge()

    def switch(self, part: str) -> None:
        """Put what the gauge rose by to the part that ends, and begin another."""
        value = self.gauge()
        self.by_part[self._now] += value - self._since
        self._now, self._since = part, value


class Passes:
    """Counts an encoder's passes in forward-equivalents while entered; `count` is the sum.

    A forward pass is 1, a backward pass to the images 1 and one to the weights 1 more. Each pass, of an attack's twin
    too, goes through one FeatureNorm.
    """

    def __init__(self, to_weights: Callable[[], bool]) -> None:
        self.to_weights = to_weights
        self.count = 0

    def __enter__(self) -> Self:
        self._handle = nn.modules.module.register_module_forward_hook(self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _forward(self, module: nn.Module, args: Any, z: Any) -> None:
        if isinstance(module, FeatureNorm):
            self.count += 1
            if z.requires_grad:
                z.register_hook(self._backward)

    def _backward(self, gradient: Tensor) -> None:
        self.count += 2 if self.to_weights() else 1


def members(module: nn.Module) -> set[int]:
    """The identities of a module's parameters."""
    return {id(parameter) for parameter in module.parameters()}
