"""Attribute the work of a defense's step to its phases: the attack, L_C, L_D, L_F and the optimizers."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from afdctl.defenses.base import Adversary, Defense

PHASES: Final = ("attack", "C", "D", "F", "optimizer")


class StepPhases(TorchFunctionMode):
    """While entered, calls `on_switch` with the name of each phase when it begins.

    A phase lasts until the next one begins. Work that two losses share is attributed to the loss that always needs it:
    z to C, z' to F, and features without a graph to D. A backward pass belongs to the loss whose parameters it is for.
    Works for eager steps only.
    """

    def __init__(self, defense: Defense, on_switch: Callable[[str], None]) -> None:
        super().__init__()
        self.defense, self.on_switch = defense, on_switch
        self.current = "optimizer"
        self.has_discriminator = "F" in defense.optimizers
        self.parameters = {name: parameter_ids(module) for name, module in defense.modules.items()}
        self.head = parameter_ids(defense.network.C_phi)
        self._x_adv: Tensor | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        # all hooks are removed on exit, as they keep references to the defense
        network = self.defense.network
        self._cleanup.enter_context(network.F_theta.register_forward_pre_hook(self._on_encoder))
        self._cleanup.enter_context(network.C_phi.register_forward_pre_hook(lambda *_: self.switch("C")))
        if D_psi := self.defense.modules.get("D_psi"):
            self._cleanup.enter_context(D_psi.register_forward_pre_hook(lambda *_: self.switch("D")))
        for optimizer in self.defense.optimizers.values():
            # not torch's hook, which runs inside torch's own profiler region: the two regions would overlap in a trace
            self._cleanup.callback(delattr, optimizer, "step")
            vars(optimizer)["step"] = self._wrap_optimizer(optimizer.step)
        self._cleanup.callback(setattr, self.defense, "adversary", self.defense.adversary)
        self.defense.adversary = self._wrap_adversary(self.defense.adversary)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.autograd.grad and self.current != "attack":
            self._on_backward(args[1])
        return func(*args, **(kwargs or {}))

    def switch(self, phase: str) -> None:
        """Begin a phase."""
        self.current = phase
        self.on_switch(phase)

    def _wrap_adversary(self, adversary: Adversary) -> Adversary:
        def attack(x: Tensor, y: Tensor) -> Tensor:
            self.switch("attack")
            self._x_adv = adversary(x, y)
            self.switch("C")
            return self._x_adv

        return attack

    def _wrap_optimizer(self, step: Callable[[], None]) -> Callable[[], None]:
        def update() -> None:
            self.switch("optimizer")
            step()

        return update

    def _on_encoder(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.has_discriminator:
            self.switch("C")
        elif not torch.is_grad_enabled():
            self.switch("D")
        else:
            self.switch("F" if args[0] is self._x_adv else "C")

    def _on_backward(self, inputs: Sequence[Tensor]) -> None:
        """Switch to the loss that owns the parameters in `inputs`; gradients of features do not switch."""
        ids = {id(tensor) for tensor in inputs}
        if ids & self.head:
            self.switch("C")
        elif ids & self.parameters.get("D_psi", set()):
            self.switch("D")
        # a frozen C_phi is not among the inputs of L_C either, whose last forward pass was C_phi's
        elif ids & self.parameters["network"] and self.current != "C":
            self.switch("F" if self.has_discriminator else "C")


class PhaseCounter:
    """Sums the increase of a gauge (a clock or a counter) by phase of a step, in `by_phase`."""

    def __init__(self, gauge: Callable[[], float], first_phase: str = "C") -> None:
        self.gauge = gauge
        self.by_phase = dict.fromkeys(PHASES, 0.0)
        self._phase, self._start = first_phase, gauge()

    def switch(self, phase: str) -> None:
        """Add the increase since the last call to the current phase, and begin another."""
        value = self.gauge()
        self.by_phase[self._phase] += value - self._start
        self._phase, self._start = phase, value


def parameter_ids(module: nn.Module) -> set[int]:
    """Return the identities of a module's parameters."""
    return {id(parameter) for parameter in module.parameters()}
