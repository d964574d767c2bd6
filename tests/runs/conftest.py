"""A run to write to, and a disk that is full."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from afdctl.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    provenance = {"device": "cpu", "torch": {"version": "2.11"}, "git": None}
    return Run.create(tmp_path / "runs", "toy", "seed = 0\n", provenance)


@pytest.fixture
def full_beyond() -> Callable[[int], AbstractContextManager[None]]:
    """No file can grow beyond so many bytes: the kernel then does a part of a write, and fails the next."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
