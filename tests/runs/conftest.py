"""Fixtures: a run, and a limit on the size of files."""

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
    """Limit the size of files: the kernel then writes a part of the data, and fails the next write."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
