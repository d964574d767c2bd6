"""Which precision is faster on this device, by measuring both: bfloat16 pays only where the hardware computes it."""

from collections.abc import Callable
from typing import Final

import torch

from afdctl.models.cost import timed

# in a recipe or an option: the faster of the two
AUTO: Final = "auto"
# a smaller gain is not worth the rounding
MAX_SHARE: Final = 0.9
# rounds of both passes: as many as fit into the time, at least the first number and at most the second
ROUNDS: Final = (2, 20)
SECONDS: Final = 0.5
# enough to fill a CPU's vectors; a pass of CIFAR-10's ResNet-18 takes about a second
MEASURED_IMAGES: Final = 64


def choose_precision(make_pass: Callable[[str], Callable[[], object]], device: torch.device) -> str:
    """Return `bf16` where a pass in it takes at most `MAX_SHARE` of float32's time, else `float32`.

    `make_pass` returns what runs a pass in the precision that it is given. A model that fails in bfloat16 gets float32.
    """
    try:
        passes = {name: make_pass(name) for name in ("float32", "bf16")}
        # warm-up
        spent = sum(timed(call, device) for call in passes.values())
        count = min(max(int(SECONDS / spent), ROUNDS[0]), ROUNDS[1])
        # alternating, so that a busy machine slows both alike
        rounds = [{name: timed(call, device) for name, call in passes.items()} for _ in range(count)]
    except Exception:  # noqa: BLE001 (of a user's code)
        # a user's model may compute in float32 only: numpy, for one, has no bfloat16 (a TypeError); any other mistake
        # shows itself in the work that follows
        return "float32"
    fastest = {name: min(seconds[name] for seconds in rounds) for name in passes}
    return "bf16" if fastest["bf16"] <= MAX_SHARE * fastest["float32"] else "float32"
