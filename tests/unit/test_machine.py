"""What a process may use of the machine."""

import os
import subprocess
import sys

import pytest

from grok_sweep.machine import usable_cores

FAULTS = """
import resource, sys
import torch
from grok_sweep.machine import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
for i in range(20):
    if i == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_is_not_fetched_anew():
    """Ten times 80 MB, once the heap has grown: pages of 4 KB, or of 2 MB where the system has huge ones."""
    assert faults("keep") < 0.05 * faults("default")


def test_usable_cores_are_those_of_the_process():
    assert usable_cores() == len(os.sched_getaffinity(0))
