"""Descriptors: a frozen 3D backbone that was never trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.descriptors.color import chroma, color_features
from geoguide3d.backbones.descriptors.columns import column_features
from geoguide3d.backbones.descriptors.fpfh import fpfh
from geoguide3d.backbones.descriptors.neighborhood import Neighborhood
from geoguide3d.backbones.descriptors.pieces import find_pieces, mean_and_deviation_over_pieces
from geoguide3d.backbones.descriptors.samples import Samples, sample
from geoguide3d.backbones.descriptors.shape import eigen_features
from geoguide3d.scenes.scene import Scene

VERSION = 1  # raised whenever the same scene would get other features
_SHAPE_RADII_M = (0.1, 0.2, 0.4, 0.8)
_COLUMN_RADII_M = (0.12, 0.4, 0.8)
_NEAR_M = 0.1
_FPFH_RADIUS_M = 0.12
_FPFH_NEIGHBORS = 32


class Descriptors:
    """Handcrafted features of shape, colour and surroundings at several scales; a FrozenBackbone.

    Computed per voxel in upright axes, turned to the walls: the four conventions of axes and turns about up leave the
    features as they are, but for the voxels' borders where the walls do not fix a direction.
    """

    name = "descriptors"
    needs: tuple[str, ...] = ("colors", "normals")
    licence = "Apache-2.0"

    def __init__(self, voxel_size_m: float = 0.04, version: int = VERSION) -> None:
        """Keeps the settings.

        Args:
            voxel_size_m: points in one voxel share their features.
            version: of the formulas; a model stores the one it was trained with.

        Raises:
            ValueError: another version than this package computes, or no positive voxel size.
        """
        if version != VERSION:
            raise ValueError(
                f"descriptors version {version} is not what this package computes ({VERSION}); "
                "distil the model again, or install the package it was made with"
            )
        if not voxel_size_m > 0:
            raise ValueError(f"voxel_size_m must be positive, got {voxel_size_m}")
        self.voxel_size_m = voxel_size_m
        self.config: dict[str, Any] = {"voxel_size_m": voxel_size_m, "version": version}
        self.channels = self.encode(_one_point()).shape[1]
        self.bytes_per_voxel = 29 * self.channels  # measured; read by TiledBackbone's estimate

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features of about unit size in the order of scene.points.

        Missing normals and a missing up direction are estimated, missing colours count as black (all logged).
        """
        samples = sample(scene, self.voxel_size_m)
        features = torch.cat([*self._own_features(samples), *self._surroundings(samples)], dim=1)
        return features.to(torch.float32)[samples.voxel_of_point]

    def _own_features(self, samples: Samples) -> list[Tensor]:
        """Returns what a voxel and its neighbourhood look like: place, shape, normals' turns, colour."""
        positions, normals = samples.positions, samples.normals
        height, rise = positions[:, 2:], normals[:, 2:]
        place = [height, samples.ceiling_m - height, rise, rise.abs(), samples.counts.log1p().unsqueeze(1)]
        shapes = [eigen_features(positions, Neighborhood(positions, radius), radius) for radius in _SHAPE_RADII_M]
        turns = fpfh(positions, normals, _FPFH_RADIUS_M, _FPFH_NEIGHBORS) / 100
        return [*place, *shapes, turns, color_features(samples.colors, Neighborhood(positions, _NEAR_M))]

    def _surroundings(self, samples: Samples) -> list[Tensor]:
        """Returns what is above, below and beside a voxel, and what piece of the room it belongs to."""
        positions, normals = samples.positions, samples.normals
        area = self.voxel_size_m**2
        columns = [column_features(positions, normals, radius, area) for radius in _COLUMN_RADII_M]
        pieces = find_pieces(samples, self.voxel_size_m)
        whole = mean_and_deviation_over_pieces(_looks(samples), pieces.object_of_sample)
        return [*columns, pieces.surface_features, pieces.object_features, whole]


def _looks(samples: Samples) -> Tensor:
    """Returns (M, 15): the few features whose mean and deviation over an object describe it."""
    shape = eigen_features(samples.positions, Neighborhood(samples.positions, _NEAR_M), _NEAR_M)
    rise = samples.normals[:, 2:]
    facing_up = ((rise - 0.6) / 0.3).clamp(0.0, 1.0)
    return torch.cat([shape, rise, rise.abs(), facing_up, chroma(samples.colors)], dim=1)


def _one_point() -> Scene:
    upward = torch.tensor([0.0, 0.0, 1.0])
    return Scene(points=torch.zeros(1, 3), normals=upward.unsqueeze(0), colors=torch.zeros(1, 3), up=upward)
