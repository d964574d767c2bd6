"""Global state that a user's code may use or change: random generators, settings of torch, threads."""

import os
import random
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import thread as pools
from contextlib import contextmanager
from typing import Any

from afdctl.errors import RecipeError


def seed_global_generators(seed: int) -> None:
    """Seed the global random generators of Python, numpy and torch."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """Return the states of the global random generators of Python, numpy and torch, as a checkpoint can hold them."""
    import numpy as np
    import torch

    state: Any = np.random.get_state(legacy=True)
    kind, keys, *rest = state
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Set the global random generators to states of `generator_states`."""
    import numpy as np
    import torch

    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, array, *rest = states["numpy"]
    np.random.set_state((kind, array.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"]:
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


@contextmanager
def preserved() -> Iterator[None]:
    """Seed the global random generators with 0 inside the block, and restore them after it.

    torch's number of threads, default dtype and gradient mode, and the working directory are restored too. Error:
    RecipeError for a thread that the code leaves behind, because the process could not end.
    """
    import torch

    states, cwd, process = generator_states(), os.getcwd(), os.getpid()
    threads, dtype, gradients = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    before = set(threading.enumerate())
    try:
        seed_global_generators(0)
        yield
    finally:
        # a process that the code forked must not repeat the command
        if os.getpid() != process:
            os._exit(0)
        restore_generators(states)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        os.chdir(cwd)
    started = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    # Python ends the threads of executors itself
    if left := [thread.name for thread in started if thread not in pools._threads_queues]:
        raise RecipeError(f"the code leaves a thread behind ({', '.join(left)}); end it, or make it a daemon")
