"""Compiles every CUDA source to an object file, for which no GPU is needed. Exits with 1 where one does not compile."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import torch
from compiler import NVCC_FLAGS, Toolkit, find_toolkit

HEADERS = [Path(torch.__file__).parent / "include", Path(sysconfig.get_paths()["include"])]
SOURCES = sorted((Path(__file__).parent / "cuda").glob("*.cu"))
ARCHITECTURE = "sm_90"


def compiles(toolkit: Toolkit, source: Path, folder: Path) -> bool:
    command = [str(toolkit.nvcc), *NVCC_FLAGS, "-std=c++20", f"-arch={ARCHITECTURE}", "--compiler-options=-fPIC"]
    command += [f"-I{headers}" for headers in HEADERS]
    command += ["-c", str(source), "-o", str(folder / f"{source.stem}.o")]
    works = subprocess.run(command).returncode == 0
    print(f"{source.name}: {'compiles' if works else 'DOES NOT COMPILE'} for {ARCHITECTURE}", flush=True)
    return works


def main() -> int:
    if os.environ.get("GEOGUIDE3D_CUDA") == "0":
        print("CUDA kernels not checked: GEOGUIDE3D_CUDA=0")
        return 0
    toolkit = find_toolkit()
    if toolkit is None:
        print(
            "CUDA kernels not checked: no toolkit with bin/nvcc and include/cuda_runtime.h in CUDA_HOME, CUDA_PATH, "
            "behind nvcc on PATH or in /usr/local/cuda"
        )
        return 1 if os.environ.get("GEOGUIDE3D_CUDA") == "1" else 0
    print(f"nvcc of {toolkit.root}")
    with tempfile.TemporaryDirectory() as folder:
        results = [compiles(toolkit, source, Path(folder)) for source in SOURCES]  # all, not up to the first failure
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
