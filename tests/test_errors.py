"""What is recognised as an error of memory."""

import numpy as np
import pytest
import torch

from afdctl.errors import out_of_memory


def real() -> list[BaseException]:
    """Errors of this machine's own allocators, of a petabyte each."""
    found: list[BaseException] = []
    for ask in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50), lambda: bytearray(1 << 50)):
        try:
            ask()
        except (RuntimeError, MemoryError) as error:
            found.append(error)
    return found


def test_every_allocator_is_understood():
    errors = [*real(), torch.OutOfMemoryError("CUDA out of memory"), OSError(12, "Cannot allocate memory")]
    assert len(errors) == 5
    assert all(map(out_of_memory, errors))


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(28, "No space left"), KeyError("memory")])
def test_other_errors_are_not(error: BaseException):
    assert not out_of_memory(error)
