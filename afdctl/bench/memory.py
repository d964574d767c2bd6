"""The most memory that was taken."""

import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """Of the GPU by tensors, or of this process by all that it has loaded, since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
