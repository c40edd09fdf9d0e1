"""Where and when a benchmark's numbers were seen."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """What a reader must know to compare two tables; `cores` counts the threads that torch uses."""

    cpu: str
    cores: int
    gpu: str | None
    torch: str
    commit: str
    date: str


def this_machine() -> Machine:
    """Returns the description of the machine and the working tree that run now."""
    return Machine(
        cpu=_cpu_name(),
        cores=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        torch=torch.__version__,
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
    )


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Returns the short hash, with a plus where tracked files differ from it, or "unknown" outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")
