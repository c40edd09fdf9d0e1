"""What geoguide3d.ops does where the libraries are missing, broken, or built for another CUDA."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geoguide3d.ops.kernels import compiled

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "geoguide3d"
SUFFIX = ".abi3.so"
NOT_A_LIBRARY = b"this is text"

needs_kernels = pytest.mark.skipif(compiled == "none", reason="the kernels are not built")

# An editable install answers for every name in the package, also for libraries that this copy lacks.
SCRIPT = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in repr(finder)]
import torch
from geoguide3d import ops
assert ops.__file__.startswith(FOLDER), ops.__file__
sums = ops.segment_sum(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 0, 1]), 2)
print(ops.compiled, sums.flatten().tolist())
"""

TESTS_OF_THE_OPS = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in repr(finder)]
sys.path.insert(0, ".")
import pytest
from geoguide3d import ops
assert ops.compiled == "none"
chosen = "known or matches_its or opcheck or gradcheck or reject"
sys.exit(pytest.main(["-p", "no:cacheprovider", "--ignore=tests/ops/test_kernels.py", "-k", chosen, "tests/ops"]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of geoguide3d/ops without libraries, in a folder that Python finds before the installed package."""
    copy = tmp_path / "geoguide3d"
    shutil.copytree(PACKAGE / "ops", copy / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE / "__init__.py", copy)
    return copy


def run(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    folder = str(package.parent)
    settings = {key: value for key, value in os.environ.items() if not key.startswith("GEOGUIDE3D_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("FOLDER", repr(folder))],
        env=settings | {"PYTHONPATH": folder} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )


def warnings_in(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "UserWarning" in line]


def test_without_libraries_the_references_run_and_nothing_is_said(package: Path) -> None:
    done = run(package)
    assert done.stdout == "none [2.0, 5.0]\n", done.stderr
    assert warnings_in(done) == []


def test_the_references_pass_the_tests_of_the_ops_behind_the_dispatcher(tmp_path: Path) -> None:
    for name in ("geoguide3d", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    settings = {key: value for key, value in os.environ.items() if not key.startswith("GEOGUIDE3D_")}
    command = [sys.executable, "-c", TESTS_OF_THE_OPS]
    done = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_without_libraries_required_kernels_are_an_import_error_with_the_cure(package: Path) -> None:
    done = run(package, GEOGUIDE3D_REQUIRE_KERNELS="1")
    assert done.returncode == 1
    assert "ImportError: geoguide3d._C is not built: run `pip install -e . --no-build-isolation`" in done.stderr


def test_a_library_that_does_not_load_gives_one_warning_with_the_linkers_words(package: Path) -> None:
    library = package / f"_C{SUFFIX}"
    library.write_bytes(NOT_A_LIBRARY)
    done = run(package)
    assert done.stdout == "none [2.0, 5.0]\n", done.stderr
    (warning,) = warnings_in(done)
    assert str(library) in warning
    assert "file too short" in warning or "invalid ELF header" in warning or "mach-o" in warning


def test_a_library_that_does_not_load_is_an_error_where_kernels_are_required(package: Path) -> None:
    (package / f"_C{SUFFIX}").write_bytes(NOT_A_LIBRARY)
    done = run(package, GEOGUIDE3D_REQUIRE_KERNELS="1")
    assert done.returncode == 1
    assert "ImportError" in done.stderr


@needs_kernels
def test_cuda_kernels_that_do_not_load_leave_the_cpu_kernels(package: Path) -> None:
    from geoguide3d import _C  # type: ignore[attr-defined]

    shutil.copy(PACKAGE / f"_C{SUFFIX}", package)
    (package / f"_C_cuda{SUFFIX}").write_bytes(NOT_A_LIBRARY)
    done = run(package)
    assert done.stdout == "cpu [2.0, 5.0]\n", done.stderr
    matches = str(_C.cuda_major) == str(torch.version.cuda).partition(".")[0]
    # A library for another CUDA, as on a torch without CUDA, is not even tried.
    assert len(warnings_in(done)) == (1 if matches else 0)


@needs_kernels
def test_a_torch_without_cuda_runs_the_cpu_kernels_of_a_cuda_build(package: Path) -> None:
    shutil.copy(PACKAGE / f"_C{SUFFIX}", package)
    (package / f"_C_cuda{SUFFIX}").write_bytes(NOT_A_LIBRARY)
    (package.parent / "sitecustomize.py").write_text("import torch\ntorch.version.cuda = None\n")
    done = run(package, GEOGUIDE3D_REQUIRE_KERNELS="1")
    assert done.stdout == "cpu [2.0, 5.0]\n", done.stderr
    assert warnings_in(done) == []


@needs_kernels
def test_the_cpu_library_does_not_need_cuda() -> None:
    """It must load beside a torch that was built without CUDA."""
    tool = shutil.which("readelf")
    if tool is None:
        pytest.skip("readelf is absent")
    told = subprocess.run([tool, "-d", str(PACKAGE / f"_C{SUFFIX}")], capture_output=True, text=True, check=True).stdout
    needed = [line for line in told.splitlines() if "NEEDED" in line]
    assert needed
    assert not [line for line in needed if "cuda" in line]
