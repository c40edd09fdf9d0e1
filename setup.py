"""Builds geoguide3d._C (CPU kernels) and, where torch and the machine have the same CUDA, geoguide3d._C_cuda.

GEOGUIDE3D_CUDA=0 or 1 decides about _C_cuda instead of what is found; GEOGUIDE3D_SKIP_KERNELS=1 builds neither.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "csrc"))
from compiler import CXX_FLAGS, NVCC_FLAGS, SANITIZE_FLAGS, Toolkit, find_toolkit  # noqa: E402


def toolkit_to_use(torch_cuda: str | None) -> Toolkit | None:
    wish, toolkit = os.environ.get("GEOGUIDE3D_CUDA"), find_toolkit()
    if wish == "1" and (torch_cuda is None or toolkit is None):
        raise SystemExit(f"GEOGUIDE3D_CUDA=1, but torch has CUDA {torch_cuda} and the toolkit found is {toolkit}")
    if wish == "0" or torch_cuda is None or toolkit is None:
        return None
    return toolkit if wish == "1" or toolkit.major == int(torch_cuda.partition(".")[0]) else None


def files(*patterns: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern))


def extensions() -> tuple[list[Extension], dict[str, type]]:
    import torch

    toolkit = toolkit_to_use(torch.version.cuda)
    if toolkit is not None:
        os.environ["CUDA_HOME"] = str(toolkit.root)  # torch would guess it from the place of nvcc
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;8.6;9.0+PTX")
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    major = f"-DCUDA_MAJOR={toolkit.major if toolkit else 0}"  # csrc/module.cpp hands it to ops/kernels.py
    options = {
        "extra_compile_args": {"cxx": [*CXX_FLAGS, *SANITIZE_FLAGS, major], "nvcc": NVCC_FLAGS},
        "extra_link_args": SANITIZE_FLAGS,
        "depends": files("csrc/**/*.h", "csrc/**/*.cuh"),
        "py_limited_api": True,
    }
    built = [CppExtension("geoguide3d._C", files("csrc/module.cpp", "csrc/cpu/*.cpp"), **options)]
    if toolkit is not None:
        built.append(CUDAExtension("geoguide3d._C_cuda", files("csrc/module.cpp", "csrc/cuda/*.cu"), **options))
    return built, {"build_ext": BuildExtension}


modules, commands = ([], {}) if os.environ.get("GEOGUIDE3D_SKIP_KERNELS") == "1" else extensions()
setup(ext_modules=modules, cmdclass=commands, options={"bdist_wheel": {"py_limited_api": "cp311"}})
