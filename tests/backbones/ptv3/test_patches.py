"""Patches hold every voxel once, and the last one of a cloud borrows from the one before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from geoguide3d.backbones.ptv3.patches import Patches, cut_patches
from geoguide3d.backbones.ptv3.serialization import ORDERS, curve_codes, curve_depth


def members(patches: Patches) -> list[set[int]]:
    return [set(patch) for rows, _ in patches.groups(3) for patch in rows.view(-1, patches.size).tolist()]


@pytest.mark.parametrize("stage", range(5))
def test_orders_and_patches_are_upstreams(shared_fixtures: Path, stage: int) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "sonata_tiny" / "run_single.safetensors")
    inputs = load_file(shared_fixtures / "backbones" / "inputs" / "inputs.safetensors")
    grid = inputs["main.grid_coord"] if stage == 0 else recorded[f"stage{stage}.grid_coord"]
    cells = torch.nn.functional.pad(grid.to(torch.int64), (1, 0))
    assert curve_depth(cells) == int(recorded[f"stage{stage}.depth"])
    assert torch.equal(curve_codes(cells, curve_depth(cells)), recorded[f"stage{stage}.code"])
    slots = recorded[f"stage{stage}.pad"].to(torch.int64)
    patches = cut_patches(cells, ORDERS, {0: 128, 1: 128, 2: 64, 3: 64, 4: 128}[stage])
    for order, positions in zip(ORDERS, recorded[f"stage{stage}.order"].to(torch.int64), strict=True):
        size = patches[order].size
        assert size == int(recorded[f"stage{stage}.patch_size"])
        assert torch.equal(patches[order].rows, positions)
        assert members(patches[order]) == [set(patch) for patch in positions[slots].view(-1, size).tolist()]


def test_patches_of_a_batch_are_upstreams(shared_fixtures: Path) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "sonata_tiny" / "run_batch2.safetensors")
    counts = recorded["stage1.offset"].diff(prepend=torch.zeros(1, dtype=torch.int64)).tolist()
    positions, size = torch.arange(sum(counts)), int(recorded["stage1.patch_size"])
    padded = recorded["stage1.pad"].view(-1, size).tolist()
    assert members(Patches(positions, positions, tuple(counts), size)) == [set(patch) for patch in padded]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 60), st.integers(1, 4))
def test_every_voxel_attends_once_to_a_patch_of_its_own_cloud(counts: list[int], size: int, most: int) -> None:
    size = min(size, *counts)
    cloud = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    positions = torch.arange(sum(counts))
    attending = []
    for rows, queries in Patches(positions, positions, tuple(counts), size).groups(most):
        for patch in rows.view(-1, size):
            assert len(set(patch.tolist())) == size
            assert len(set(cloud[patch].tolist())) == 1
            attending += patch[size - queries :].tolist()
        assert len(rows) <= most * size
    assert attending == positions.tolist()


def test_rejects_clouds_without_voxels() -> None:
    with pytest.raises(ValueError, match=r"counts are \[0, 1\]"):
        cut_patches(torch.tensor([[1, 0, 0, 0]]), ["z"], 4)
    with pytest.raises(ValueError, match=r"counts are \[\]"):
        cut_patches(torch.zeros(0, 4, dtype=torch.int64), ["z"], 4)
