"""Patches hold every voxel once, and the last one of a cloud borrows from the one before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from geoguide3d.backbones.ptv3.patches import cut_patches, patch_slots
from geoguide3d.backbones.ptv3.serialization import ORDERS, curve_codes, curve_depth


@pytest.mark.parametrize("stage", range(5))
def test_orders_and_slots_are_upstreams(shared_fixtures: Path, stage: int) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "sonata_tiny" / "run_single.safetensors")
    inputs = load_file(shared_fixtures / "backbones" / "inputs" / "inputs.safetensors")
    grid = inputs["main.grid_coord"] if stage == 0 else recorded[f"stage{stage}.grid_coord"]
    cells = torch.nn.functional.pad(grid.to(torch.int64), (1, 0))
    size = int(recorded[f"stage{stage}.patch_size"])
    assert curve_depth(cells) == int(recorded[f"stage{stage}.depth"])
    assert torch.equal(curve_codes(cells, curve_depth(cells)), recorded[f"stage{stage}.code"])
    slots, slot_of_position = patch_slots([len(cells)], size)
    assert torch.equal(slots, recorded[f"stage{stage}.pad"].to(torch.int64))
    patches = cut_patches(cells, ORDERS, {0: 128, 1: 128, 2: 64, 3: 64, 4: 128}[stage])
    for order, positions in zip(ORDERS, recorded[f"stage{stage}.order"].to(torch.int64), strict=True):
        assert patches[order].size == size
        assert torch.equal(patches[order].rows, positions[slots])
        assert torch.equal(patches[order].slot_of_row[positions], slot_of_position)


def test_slots_of_a_batch_are_upstreams(shared_fixtures: Path) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "sonata_tiny" / "run_batch2.safetensors")
    counts = recorded["stage1.offset"].diff(prepend=torch.zeros(1, dtype=torch.int64)).tolist()
    slots, _ = patch_slots(counts, int(recorded["stage1.patch_size"]))
    assert torch.equal(slots, recorded["stage1.pad"].to(torch.int64))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(1, 60))
def test_every_position_has_one_slot_of_its_own(counts: list[int], size: int) -> None:
    size = min(size, *counts)
    slots, slot_of_position = patch_slots(counts, size)
    assert len(slots) % size == 0
    assert torch.equal(slots[slot_of_position], torch.arange(sum(counts)))
    cloud = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    of_patch = cloud[slots].view(-1, size)
    assert bool((of_patch == of_patch[:, :1]).all())  # no patch holds voxels of two clouds
    assert all(len(set(patch.tolist())) == size for patch in slots.view(-1, size))  # and none holds a voxel twice


def test_rejects_clouds_without_voxels() -> None:
    with pytest.raises(ValueError, match=r"counts are \[0, 1\]"):
        cut_patches(torch.tensor([[1, 0, 0, 0]]), ["z"], 4)
    with pytest.raises(ValueError, match=r"counts are \[\]"):
        cut_patches(torch.zeros(0, 4, dtype=torch.int64), ["z"], 4)
