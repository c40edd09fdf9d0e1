"""Stage 1 of SAS, which USD is with even weights: numbers recorded from the official implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geoguide3d.losses.readings import read
from geoguide3d.losses.usd import Taught, UsdSettings, point_weights, usd
from geoguide3d.ops import weighted_segment_mean

CASES = [
    "plain",
    "many_small_superpoints",
    "one_superpoint",
    "float64",
    "all_masked_in",
    "zero_features",
    "output_equals_superpoint_mean",
]
SETTINGS = UsdSettings(weight="uniform")


def recorded(folder: Path, case: str) -> tuple[dict[str, Tensor], Taught]:
    """The case's tensors, and what its images say about its voxels."""
    tensors = load_file(folder / "modules" / "sas_stage1_loss" / "loss_cases.safetensors")
    found = {name.removeprefix(f"{case}."): value for name, value in tensors.items() if name.startswith(f"{case}.")}
    mask = found["mask"]
    targets = found["feat_2d_of_masked"].new_zeros(len(mask), found["feat_2d_of_masked"].shape[1])
    targets[mask] = found["feat_2d_of_masked"]
    # a superpoint of the scene may have no taught voxel, or no voxel: it must not count
    ids = found["superpoint_of_points"][found["voxel_to_point"]]
    return found, Taught(targets, mask, ids, int(ids.max()) + 1)


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_recorded_ones(shared_fixtures: Path, case: str) -> None:
    found, taught = recorded(shared_fixtures, case)
    double = case == "float64"
    output = found["output_3d"].clone().requires_grad_()
    _, means, sums = read(output, {"taught": taught.lists}, taught, None)
    assert sums is not None
    loss, entropy = usd(sums, means["taught"], point_weights(SETTINGS, None, None, taught), taught, SETTINGS)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(
        loss.detach(), found["loss"], rtol=1e-12 if double else 2e-6, atol=1e-14 if double else 1e-7
    )
    assert output.grad is not None
    torch.testing.assert_close(
        output.grad, found["grad"], rtol=1e-11 if double else 1e-4, atol=1e-15 if double else 1e-8
    )
    assert entropy.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_targets_are_the_recorded_means(shared_fixtures: Path, case: str) -> None:
    found, taught = recorded(shared_fixtures, case)
    weights = point_weights(SETTINGS, None, None, taught)
    pooled = weighted_segment_mean(taught.targets, weights, taught.superpoints, taught.count, eps=0.0)
    held = taught.superpoints[taught.taught].unique()
    torch.testing.assert_close(pooled[held], found["feat_mean"], rtol=1e-5, atol=1e-6)
