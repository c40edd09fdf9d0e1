"""Small text files of one matrix: intrinsics and poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_RIGID_TOLERANCE = 0.01  # poses are often written with few decimals


def read_intrinsics(file: Path) -> Tensor:
    """Reads a pinhole matrix, 3×3 or 4×4 on disk, as (3, 3) float64 pixels.

    Raises:
        ValueError: another shape, values that are not finite, or rows that are not (fx s cx) (0 fy cy) (0 0 1).
    """
    matrix = _read_matrix(file)
    if tuple(matrix.shape) not in ((3, 3), (4, 4)):
        raise ValueError(f"{file}: intrinsics must be 3×3 or 4×4, got {tuple(matrix.shape)}")
    matrix = matrix[:3, :3]
    usable = bool(torch.isfinite(matrix).all()) and bool((matrix.diagonal() > 0).all()) and float(matrix[1, 0]) == 0
    if not usable or matrix[2].tolist() != [0.0, 0.0, 1.0]:
        raise ValueError(f"{file}: expected rows (fx s cx) (0 fy cy) (0 0 1) in pixels, got {matrix.tolist()}")
    return matrix


def read_pose(file: Path) -> Tensor | None:
    """Reads a rigid transform, (4, 4) float64, or returns None where it holds inf or NaN (tracking was lost).

    Raises:
        ValueError: another shape, or a matrix that is not a rotation and a translation.
    """
    matrix = _read_matrix(file)
    if tuple(matrix.shape) != (4, 4):
        raise ValueError(f"{file}: a pose must be 4×4, got {tuple(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        return None
    rotation = matrix[:3, :3]
    error = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if error > _RIGID_TOLERANCE or float(torch.linalg.det(rotation)) < 0 or matrix[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
        raise ValueError(f"{file}: not a rigid pose (a rotation, a translation and 0 0 0 1): {matrix.tolist()}")
    return matrix


def write_matrix(file: Path, matrix: Tensor) -> None:
    """Writes a float64 matrix so that reading it gives the same bits; makes the folder where it is absent."""
    file.parent.mkdir(exist_ok=True)
    np.savetxt(file, matrix.numpy(), fmt="%.17g")


def _read_matrix(file: Path) -> Tensor:
    """Reads numbers in rows, (rows, columns) float64."""
    try:
        lines = [line.split() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
        rows = [[float(word) for word in line] for line in lines]
    except ValueError as error:
        raise ValueError(f"{file}: not a matrix of numbers ({error}); write it as rows with spaces between") from error
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{file}: not a matrix, its rows have {[len(row) for row in rows]} numbers")
    return torch.tensor(rows, dtype=torch.float64)
