"""Fixtures that every test may ask for."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# An example may take long on a busy machine; timings are never asserted.
hypothesis.settings.register_profile("geoguide3d", deadline=None)
hypothesis.settings.load_profile("geoguide3d")


def _folder_or_skip(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real scans and predictions that lie beside the repository."""
    return _folder_or_skip("data")


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """Numbers recorded from official implementations, beside the repository; a GPU bundle carries a part of them."""
    carried = ROOT / "gpu_bundle" / "fixtures"
    return carried if carried.is_dir() and not (SHARED / "fixtures").is_dir() else _folder_or_skip("fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    no_gpu = pytest.mark.skip(reason="torch sees no CUDA device")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_gpu)
