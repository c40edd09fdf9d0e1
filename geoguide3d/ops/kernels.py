"""Loads the compiled kernels where they were built and fit; every other op runs its PyTorch reference."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import warnings
from types import ModuleType
from typing import Literal

import torch

Compiled = Literal["none", "cpu", "cuda"]


def _load() -> Compiled:
    """Imports _C and, where torch has the CUDA major it was built for, _C_cuda; returns what runs compiled."""
    required = os.environ.get("GEOGUIDE3D_REQUIRE_KERNELS") == "1"
    cpu = _import("geoguide3d._C", required)
    if cpu is None:
        return "none"
    built_for, present = cpu.cuda_major, int((torch.version.cuda or "0").partition(".")[0])
    if built_for and built_for == present and _import("geoguide3d._C_cuda", required) is not None:
        return "cuda"
    if present and torch.cuda.is_available():
        message = (
            f"geoguide3d has no CUDA kernels for this torch (built for CUDA {built_for or 'none'}, "
            f"torch has CUDA {torch.version.cuda}); CUDA tensors take the PyTorch references"
        )
        if required:
            raise ImportError(message)
        warnings.warn(message, stacklevel=2)
    return "cpu"


def _import(name: str, required: bool) -> ModuleType | None:
    """Returns the library; None where it was not built, or (with a warning) where it does not load."""
    spec = importlib.util.find_spec(name)
    try:
        if spec is None:
            raise ImportError(f"{name} is not built: run `pip install -e . --no-build-isolation` in the repository")
        _check_processor()
        return importlib.import_module(name)
    except ImportError as error:
        if required:
            raise
        if spec is not None:
            warnings.warn(f"{spec.origin} does not load, PyTorch references run instead: {error}", stacklevel=2)
        return None


def _check_processor() -> None:
    """Raises ImportError on an x86-64 processor that does not know the instructions setup.py compiles for."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if is_x86 and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        raise ImportError(f"the kernels need AVX2, torch sees {torch.backends.cpu.get_cpu_capability()}")


compiled: Compiled = _load()
