"""Provenance in run.json: everything besides the recipe and the data that a metric may depend on."""

import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from afdctl import __version__

if TYPE_CHECKING:
    import torch

# Seconds after which an unresponsive git is given up.
GIT_TIMEOUT: Final = 10


def environment(device: "torch.device") -> dict[str, Any]:
    """Return versions, commit, device, thread count and command of this process."""
    import torch

    on_cuda = device.type == "cuda"
    return {
        "afdctl": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_cuda else None,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_cuda else platform.processor(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(sys.argv),
    }


def source_commit() -> str | None:
    """Return the commit of the checkout that this package runs from; None for an installed package.

    The commit ends in `-dirty` if tracked files differ from it.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
