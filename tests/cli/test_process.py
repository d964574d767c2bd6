import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from afdctl.cli import process

def faults():
    # several at once, as malloc keeps some
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [bytearray(4 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    process.keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have other settings")
def test_freed_blocks_are_used_again_instead_of_faulted_in():
    kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(keep=keep)])) for keep in (True, False)
    )
    assert kept < 100 < given_back
