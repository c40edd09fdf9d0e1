"""Pinhole cameras: the one place that knows axes, pixel centres and how intrinsics follow a resize."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """One posed pinhole camera.

    Axes are OpenCV's (x right, y down, z forward), lengths are metres, pixel centres sit at integer coordinates
    (the image covers [-0.5, width - 0.5] × [-0.5, height - 0.5]).

    Args:
        intrinsics: (3, 3) float64, pixels.
        camera_from_world: (4, 4) float64 rigid transform.
        width: pixels.
        height: pixels.

    Raises:
        ValueError: a matrix of another shape, a value that is not finite, or an empty image.
    """

    intrinsics: Tensor
    camera_from_world: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        for name, size in (("intrinsics", 3), ("camera_from_world", 4)):
            matrix = torch.as_tensor(getattr(self, name)).to("cpu", torch.float64)
            if matrix.shape != (size, size):
                raise ValueError(f"{name} must be ({size}, {size}), got {tuple(matrix.shape)}")
            if not bool(torch.isfinite(matrix).all()):
                raise ValueError(f"{name} holds inf or NaN: {matrix.tolist()}")
            object.__setattr__(self, name, matrix)
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a camera needs at least one pixel, got {self.width} × {self.height}")

    @property
    def center_world(self) -> Tensor:
        """(3,) float64 position of the optical centre in the world, metres."""
        rotation, translation = self.camera_from_world[:3, :3], self.camera_from_world[:3, 3]
        return -rotation.T @ translation

    @property
    def up_world(self) -> Tensor:
        """(3,) float64 unit vector of the world that points up in the image."""
        return -self.camera_from_world[1, :3]

    def resized(self, width: int, height: int) -> Camera:
        """Returns the same camera with its image resampled to width × height, any aspect.

        A pixel centre at u keeps its place on the sensor: u' + 0.5 = (u + 0.5) · width / self.width.
        """
        x, y = width / self.width, height / self.height
        scale = torch.tensor([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
        return replace(self, intrinsics=scale @ self.intrinsics, width=width, height=height)

    def relative_to(self, origin_world: Tensor) -> Camera:
        """Returns the camera for points that are stored relative to origin_world ((3,) float64, metres)."""
        moved = self.camera_from_world.clone()
        moved[:3, 3] += moved[:3, :3] @ origin_world.to("cpu", torch.float64)
        return replace(self, camera_from_world=moved)
