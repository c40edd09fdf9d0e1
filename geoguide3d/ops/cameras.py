"""Cameras as tensors: what the projection ops are given, checked and turned into one matrix per view."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_DEPTH_M = 1e-6  # a point at the optical centre comes out at a depth of 1e-9 and less, on either side


def projection_matrices(points: Tensor, intrinsics: Tensor, camera_from_world: Tensor) -> Tensor:
    """Returns (V, 3, 4) float64 intrinsics @ camera_from_world[:3] on the device of the points, all of them checked.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"points must be (N, 3) float32 or float64, got {tuple(points.shape)} {points.dtype}")
    for name, matrices, side in (("intrinsics", intrinsics, 3), ("camera_from_world", camera_from_world, 4)):
        if matrices.ndim != 3 or matrices.shape[1:] != (side, side) or not matrices.is_floating_point():
            raise ValueError(f"{name} must be (V, {side}, {side}) floats, got {tuple(matrices.shape)} {matrices.dtype}")
        check_device(name, matrices, points)
    if len(intrinsics) != len(camera_from_world):
        raise ValueError(f"{len(intrinsics)} intrinsics do not fit {len(camera_from_world)} camera_from_world")
    matrices = intrinsics.detach().to(torch.float64) @ camera_from_world.detach().to(torch.float64)[:, :3]
    return matrices.to(points.device)


def check_device(name: str, tensor: Tensor, points: Tensor) -> None:
    """Raises ValueError unless the tensor is on the CPU or with the points."""
    if tensor.device not in (points.device, torch.device("cpu")):
        raise ValueError(f"{name} must be on the CPU or on {points.device} as points are, got {tensor.device}")
