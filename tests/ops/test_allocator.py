"""Freed memory stays in the process: using it again costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from geoguide3d.ops.allocator import keep_freed_memory
print(keep_freed_memory() if KEEP else None)
for _ in range(40):  # the first few grow the heap, until its free blocks fit together
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_another_block(keep: bool) -> tuple[str, int]:
    settings = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    script = SCRIPT.replace("KEEP", str(keep))
    done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
    told, faults = done.stdout.split()
    return told, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone is changed")
def test_another_block_of_the_same_size_costs_no_page_faults() -> None:
    told, faults = faults_of_another_block(keep=True)
    if told == "False":
        pytest.skip("this C library is not glibc")
    _, faults_by_default = faults_of_another_block(keep=False)
    assert faults < 100
    assert faults < faults_by_default
