"""Errors that mean exhausted memory."""

import numpy as np
import pytest
import torch

from afdctl.errors import out_of_memory


def allocator_errors() -> list[BaseException]:
    """Return the errors of this machine's allocators for a petabyte each."""
    errors: list[BaseException] = []
    for ask in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50), lambda: bytearray(1 << 50)):
        try:
            ask()
        except (RuntimeError, MemoryError) as error:
            errors.append(error)
    return errors


def test_every_allocator_is_understood():
    errors = [*allocator_errors(), torch.OutOfMemoryError("CUDA out of memory"), OSError(12, "Cannot allocate memory")]
    assert len(errors) == 5
    assert all(map(out_of_memory, errors))


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(28, "No space left"), KeyError("memory")])
def test_other_errors_are_not(error: BaseException):
    assert not out_of_memory(error)
