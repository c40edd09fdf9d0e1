"""A small orthographic renderer: which point does each pixel of a picture show, and how far away is it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.geometry.upright import rotation_to_z_up

_DEPTH_UNITS_PER_M = 10_000  # depths are compared as integers, together with the point's number
_EMPTY = torch.iinfo(torch.int64).max
_MOST_RADIUS_PX = 12


@dataclass(frozen=True)
class Direction:
    """A direction of looking at a scene.

    Args:
        azimuth_deg: turn about the scene's up; any zero.
        elevation_deg: 90 looks straight down, 0 looks horizontally.
    """

    azimuth_deg: float
    elevation_deg: float

    def axes(self, up: Tensor) -> Tensor:
        """Returns (3, 3) float64 rows: image right, image down and forward, in the axes of the scene with that up."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        right = [math.cos(azimuth), math.sin(azimuth), 0.0]
        back = [math.sin(azimuth) * math.cos(elevation), -math.cos(azimuth) * math.cos(elevation), math.sin(elevation)]
        z_up = torch.tensor([right, [0.0] * 3, [-value for value in back]], dtype=torch.float64)
        z_up[1] = torch.linalg.cross(z_up[2], z_up[0])
        return z_up @ rotation_to_z_up(up)


@dataclass(frozen=True)
class Frame:
    """The rectangle of a picture, in the image axes of a direction.

    Args:
        left_m: image-right coordinate of the left edge.
        top_m: image-down coordinate of the upper edge.
        pixel_m: side of a pixel, metres.
        width: pixels.
        height: pixels.
    """

    left_m: float
    top_m: float
    pixel_m: float
    width: int
    height: int


@dataclass(frozen=True)
class Splats:
    """What a picture shows.

    Args:
        ids: (H, W) int64 rows of the drawn points, -1 where there is nothing.
        depth: (H, W) float64 metres along the direction, inf where there is nothing.
    """

    ids: Tensor
    depth: Tensor


def fit_frame(image_points: Tensor, width: int, aspect_limits: tuple[float, float] = (0.5, 1.0)) -> Frame:
    """Returns a frame of that width around the points ((M, 3) in image axes), a few stray ones left out.

    Args:
        aspect_limits: least and largest height / width.
    """
    edges = torch.stack([_trimmed_range(image_points[:, axis]) for axis in (0, 1)])  # (2 axes, 2 ends)
    extent = (edges[:, 1] - edges[:, 0]).clamp(min=1e-3) * 1.06
    aspect = min(max(float(extent[1] / extent[0]), aspect_limits[0]), aspect_limits[1])
    height = round(width * aspect)
    pixel_m = max(float(extent[0]) / width, float(extent[1]) / height)
    center = edges.mean(dim=1)
    left, top = center[0] - pixel_m * width / 2, center[1] - pixel_m * height / 2
    return Frame(float(left), float(top), pixel_m, width, height)


def splat(image_points: Tensor, frame: Frame, radius_m: float) -> Splats:
    """Returns which of the points ((M, 3) in image axes: right, down, forward) each pixel shows: the nearest.

    A point is drawn as a cone that faces the viewer, so that where neighbours overlap each keeps its own side.

    Args:
        radius_m: of the cones; at least half a pixel and at most 12 pixels are drawn.
    """
    column = ((image_points[:, 0] - frame.left_m) / frame.pixel_m).floor().to(torch.int64)
    row = ((image_points[:, 1] - frame.top_m) / frame.pixel_m).floor().to(torch.int64)
    nearest = float(image_points[:, 2].min())
    depth = ((image_points[:, 2] - nearest) * _DEPTH_UNITS_PER_M).round().to(torch.int64)
    ids = torch.arange(len(image_points))
    keys = torch.full((frame.height * frame.width,), _EMPTY)
    radius = min(max(radius_m / frame.pixel_m, 0.5), _MOST_RADIUS_PX)
    for down, right in _disc(radius):
        x, y = column + right, row + down
        inside = (x >= 0) & (x < frame.width) & (y >= 0) & (y < frame.height)
        slope = round(math.hypot(down, right) * frame.pixel_m * _DEPTH_UNITS_PER_M)
        key = (depth[inside] + slope) * len(ids) + ids[inside]
        keys.scatter_reduce_(0, y[inside] * frame.width + x[inside], key, "amin")
    keys = keys.view(frame.height, frame.width)
    empty = keys == _EMPTY
    metres = (keys // len(ids)).to(torch.float64) / _DEPTH_UNITS_PER_M + nearest
    return Splats((keys % len(ids)).masked_fill(empty, -1), metres.masked_fill(empty, torch.inf))


def edge_shade(depth: Tensor, reach_px: int, strength_per_m: float = 2.5) -> Tensor:
    """Returns (H, W) factors in (0, 1]: darker the more the surroundings stand in front of a pixel.

    It makes shapes readable without normals or lights (eye-dome lighting, Boucheny 2009).
    """
    padded = torch.nn.functional.pad(depth, (reach_px,) * 4, value=torch.inf)
    height, width = depth.shape
    shade = torch.zeros_like(depth)
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        y, x = reach_px * (1 + down), reach_px * (1 + right)
        ahead = depth - padded[y : y + height, x : x + width]
        shade += ahead.nan_to_num(0.0, 0.0, 0.0).clamp(0.0, 0.4)
    return torch.exp(-strength_per_m * shade / 8)


def _trimmed_range(values: Tensor) -> Tensor:
    ordered = values.sort().values
    cut = len(values) // 500
    return torch.stack([ordered[cut], ordered[-1 - cut]])


def _disc(radius: float) -> list[tuple[int, int]]:
    steps = range(-math.ceil(radius), math.ceil(radius) + 1)
    return [(down, right) for down in steps for right in steps if math.hypot(down, right) <= radius]
