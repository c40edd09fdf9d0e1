"""The kernels include torch's stable ABI and nothing else of torch, or a build would fit one version of it only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cpp", ".cu", ".cuh"})
UNSTABLE = re.compile(r"^(ATen|c10|torch/(?!csrc/stable/|headeronly/))")


def unstable_includes(source: str) -> list[str]:
    included = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', source, re.MULTILINE)
    return [header for header in included if UNSTABLE.match(header)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(CSRC).as_posix())
def test_sources_include_the_stable_abi_alone(path: Path) -> None:
    assert unstable_includes(path.read_text()) == []


@pytest.mark.parametrize("header", ["ATen/ATen.h", "c10/util/Half.h", "torch/extension.h", "torch/csrc/inductor/x.h"])
def test_an_unstable_include_is_found(header: str) -> None:
    assert unstable_includes(f"#include <{header}>\n#include <torch/csrc/stable/ops.h>") == [header]
