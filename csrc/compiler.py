"""How the kernels are compiled: flags, and where the CUDA toolkit is. Used by setup.py and check_cuda.py."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# The oldest torch the binaries run on, 2.11; they run on all newer ones too.
_COMMON = ["-O3", "-DTORCH_TARGET_VERSION=0x020b000000000000"]
_IS_X86 = platform.machine() in ("x86_64", "AMD64")
CXX_FLAGS = [*_COMMON, *(["-mavx2", "-mfma", "-mf16c"] if _IS_X86 else [])]  # ops/kernels.py asks the processor first
NVCC_FLAGS = [*_COMMON, "-DUSE_CUDA"]
# GEOGUIDE3D_SANITIZE=address,undefined builds CPU kernels that stop at the first stray access (make check-asan).
SANITIZE = os.environ.get("GEOGUIDE3D_SANITIZE")
SANITIZE_FLAGS = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-O1", "-g"] if SANITIZE else []


@dataclass(frozen=True)
class Toolkit:
    """A folder that holds bin/nvcc and include/cuda_runtime.h."""

    root: Path
    major: int

    @property
    def nvcc(self) -> Path:
        return self.root / "bin" / "nvcc"


def find_toolkit() -> Toolkit | None:
    """Returns the toolkit of CUDA_HOME or CUDA_PATH, else the one behind the nvcc on PATH, else /usr/local/cuda."""
    candidates = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), _root_told_by_nvcc(), "/usr/local/cuda"]
    for root in (Path(candidate) for candidate in candidates if candidate):
        version = root / "include" / "cuda.h"
        if (root / "bin" / "nvcc").exists() and (root / "include" / "cuda_runtime.h").exists() and version.exists():
            found = re.search(r"#define CUDA_VERSION (\d+)", version.read_text(errors="replace"))
            if found:
                return Toolkit(root.resolve(), int(found[1]) // 1000)
    return None


def _root_told_by_nvcc() -> str | None:
    """Asks nvcc itself, because the one on PATH may be a script that calls another."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    told = subprocess.run([nvcc, "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True).stderr
    found = re.search(r"TOP=(\S+)", told)
    return found[1] if found else None
