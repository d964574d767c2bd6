"""Keep what a user's file must not change for the rest of the process: random states, settings of torch, threads."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from afdctl.errors import RecipeError


@contextmanager
def preserved() -> Iterator[None]:
    """Seed the global random generators of Python, numpy and torch with 0 inside the block, and restore all after it.

    torch's number of threads, default dtype and gradient mode, and the working directory are restored too. Error:
    RecipeError for a thread that the code leaves behind, because the process could not end.
    """
    import numpy as np
    import torch

    python, numpy, cwd, process = random.getstate(), np.random.get_state(), os.getcwd(), os.getpid()
    threads, dtype, gradients = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    before = set(threading.enumerate())
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(0)
            np.random.seed(0)
            torch.default_generator.manual_seed(0)
            yield
    finally:
        # a process that the code forked must not repeat the command
        if os.getpid() != process:
            os._exit(0)
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        os.chdir(cwd)
    left = [thread.name for thread in threading.enumerate() if thread not in before and not thread.daemon]
    if left:
        raise RecipeError(f"the code leaves a thread behind ({', '.join(left)}); end it, or make it a daemon")
