"""Adds rows of feature maps to sums per point, in place. The contract is written in csrc/fuse_views.h.

Compiled kernels and the reference below are registered for the same operator; the dispatcher chooses by device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

FUSE = "geoguide3d::fuse_views"


@dataclass(frozen=True)
class FusionState:
    """What is known of N points after some views; features are sums / mass, their variance is spread / mass.

    Args:
        sums: (N, C) float32, Σ weight · row.
        mass: (N,) float32, Σ weight.
        count: (N,) int32, sightings of a weight above 0.
        spread: (N,) float32, Σ weight · |row − mean|², the trace of the scatter matrix; None where nobody asks for it.
    """

    sums: Tensor
    mass: Tensor
    count: Tensor
    spread: Tensor | None = None

    @classmethod
    def empty(
        cls, points: int, channels: int, *, variance: bool = False, device: torch.device | str = "cpu"
    ) -> FusionState:
        """Returns the state of points that no view has seen.

        Raises:
            ValueError: a negative number of points or channels.
        """
        if points < 0 or channels < 0:
            raise ValueError(f"points and channels must not be negative, got {points}, {channels}")
        return cls(
            sums=torch.zeros(points, channels, device=device),
            mass=torch.zeros(points, device=device),
            count=torch.zeros(points, dtype=torch.int32, device=device),
            spread=torch.zeros(points, device=device) if variance else None,
        )

    def by_name(self) -> dict[str, Tensor]:
        """Returns the tensors that there are, in the operator's order; they are not copied."""
        named = {"sums": self.sums, "mass": self.mass, "count": self.count}
        return named if self.spread is None else {**named, "spread": self.spread}


class Sightings(NamedTuple):
    """The points that views see, and where.

    Args:
        point_ids: (E,) int64, ascending strictly within a view: each point at most once.
        uv: (E, 2) float64 pixels of the camera image, centres at integers; rounded they lie in the image.
        offsets: (V + 1,) int64, view v has rows offsets[v] … offsets[v + 1] − 1; None for a single view.
        weights: (E,) float32, finite, at least 0; None for weights of 1. A weight of 0 adds nothing.
    """

    point_ids: Tensor
    uv: Tensor
    offsets: Tensor | None = None
    weights: Tensor | None = None


def fuse_views(
    state: FusionState,
    maps: Tensor,
    sightings: Sightings,
    image_size: tuple[int, int],
    *,
    bilinear: bool = False,
) -> None:
    """Adds to each seen point's state, in place, the row that each view's feature map holds where the point is seen.

    There is no gradient: maps are features of a frozen network.

    Args:
        state: of N points; contiguous, on the maps' device.
        maps: (V, h, w, C), or (h, w, C) for a single view; float32, float64, float16 or bfloat16, any strides: a
            permuted (C, h, w) map is read plane by plane and never copied whole.
        sightings: E of them, in the order of the views.
        image_size: (W, H) pixels of the camera image that uv are in; the maps cover its field of view.
        bilinear: blend the four nearest rows instead of taking the one of the pixel that uv rounds to.

    Raises:
        ValueError: shapes, dtypes, strides or devices that do not fit; maps or weights that require a gradient;
            sightings that break the rules above, and then nothing is added (on CUDA a device-side assertion).
    """
    maps = maps[None] if maps.ndim == 3 else maps
    _check_maps(maps, image_size)
    _check_state(state, maps)
    offsets = _check_sightings(sightings, maps)
    weights = sightings.weights
    if torch.is_grad_enabled() and (maps.requires_grad or (weights is not None and weights.requires_grad)):
        raise ValueError("fuse_views has no gradient: call it under torch.no_grad(), or detach maps and weights")
    seen = [sightings.point_ids, sightings.uv, offsets]
    torch.ops.geoguide3d.fuse_views([*state.by_name().values()], maps, seen, weights, list(image_size), bilinear)


def _check_maps(maps: Tensor, image_size: tuple[int, int]) -> None:
    if maps.ndim != 4 or not maps.is_floating_point():
        raise ValueError(f"maps must be (V, h, w, C) or (h, w, C) floats, got {tuple(maps.shape)} {maps.dtype}")
    if min(image_size) < 1:
        raise ValueError(f"image_size must be (W, H) with at least one pixel each, got {image_size}")


def _check_state(state: FusionState, maps: Tensor) -> None:
    points, channels = state.mass.numel(), maps.shape[3]
    expected = {
        "sums": ((points, channels), torch.float32),
        "mass": ((points,), torch.float32),
        "count": ((points,), torch.int32),
        "spread": ((points,), torch.float32),
    }
    for name, tensor in state.by_name().items():
        shape, dtype = expected[name]
        if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != maps.device:
            raise ValueError(
                f"state.{name} must be {shape} {dtype} on {maps.device} for maps {tuple(maps.shape)}, "
                f"got {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}"
            )
        if not tensor.is_contiguous():
            raise ValueError(f"state.{name} is changed in place and must be contiguous, got strides {tensor.stride()}")
        if tensor.requires_grad:
            raise ValueError(f"state.{name} is changed in place and must not require a gradient")


def _check_sightings(sightings: Sightings, maps: Tensor) -> Tensor:
    """Returns the offsets, those of a single view where none are given."""
    views, sighted = len(maps), sightings.point_ids.numel()
    offsets = sightings.offsets
    if offsets is None:
        if views != 1:
            raise ValueError(f"offsets ({views + 1},) are needed to tell the sightings of {views} views apart")
        offsets = torch.arange(2, device=maps.device) * sighted
    expected = {
        "point_ids": ((sighted,), torch.int64),
        "uv": ((sighted, 2), torch.float64),
        "offsets": ((views + 1,), torch.int64),
        "weights": ((sighted,), torch.float32),
    }
    for name, tensor in sightings._replace(offsets=offsets)._asdict().items():
        shape, dtype = expected[name]
        if tensor is None and name == "weights":
            continue
        if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != maps.device:
            raise ValueError(
                f"sightings.{name} must be {shape} {dtype} on {maps.device}, "
                f"got {tuple(tensor.shape)} {tensor.dtype} on {tensor.device}"
            )
    if sighted and 0 in maps.shape[1:3]:
        raise ValueError(f"maps {tuple(maps.shape)} have no pixels for {sighted} sightings")
    return offsets


# --- reference: obvious PyTorch, run on any device that has no kernel -------------------------------------------------


def fuse_views_reference(
    state: Sequence[Tensor],
    maps: Tensor,
    sightings: Sequence[Tensor],
    weights: Tensor | None,
    image_size: Sequence[int],
    bilinear: bool,
) -> None:
    point_ids, uv, offsets = sightings
    _check_values(len(state[0]), sightings, weights, image_size)
    weights = state[1].new_ones(len(point_ids)) if weights is None else weights
    for view, (begin, end) in enumerate(pairwise(offsets.tolist())):
        kept = begin + weights[begin:end].nonzero().squeeze(1)
        read = _bilinear_rows if bilinear else _nearest_rows
        _add(state, point_ids[kept], read(maps[view], uv[kept], image_size), weights[kept])


def _add(state: Sequence[Tensor], ids: Tensor, rows: Tensor, weights: Tensor) -> None:
    """Adds one view's (M, C) float32 rows; every id comes once."""
    sums, mass, count = state[:3]
    if len(state) == 4:
        before = mass[ids]
        mean = sums[ids] / before.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        grown = weights * before / (before + weights) * (rows - mean).square().sum(1)
        state[3][ids] += torch.where(before > 0, grown, 0)
    sums[ids] += weights[:, None] * rows
    mass[ids] += weights
    count[ids] += 1


def _nearest_rows(feature_map: Tensor, uv: Tensor, image_size: Sequence[int]) -> Tensor:
    (width, height), (rows, columns) = image_size, feature_map.shape[:2]
    u, v = uv.round().long().unbind(1)
    column = torch.div((2 * u + 1) * columns, 2 * width, rounding_mode="floor")  # floor((u + 1/2) · w / W) in integers
    row = torch.div((2 * v + 1) * rows, 2 * height, rounding_mode="floor")
    return feature_map[row, column].float()


def _bilinear_rows(feature_map: Tensor, uv: Tensor, image_size: Sequence[int]) -> Tensor:
    (width, height), (rows, columns) = image_size, feature_map.shape[:2]
    left, right, share_u = _neighbours((uv[:, 0] + 0.5) * columns / width - 0.5, columns)
    above, below, share_v = _neighbours((uv[:, 1] + 0.5) * rows / height - 0.5, rows)
    upper, lower = (
        torch.lerp(feature_map[row, left].float(), feature_map[row, right].float(), share_u) for row in (above, below)
    )
    return torch.lerp(upper, lower, share_v)


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    inside = position.clamp(0, size - 1)
    first = inside.long()
    return first, (first + 1).clamp(max=size - 1), (inside - first).float()[:, None]


def _check_values(points: int, sightings: Sequence[Tensor], weights: Tensor | None, image_size: Sequence[int]) -> None:
    point_ids, uv, offsets = sightings
    limits = offsets.tolist()
    if limits[0] != 0 or limits[-1] != len(point_ids) or sorted(limits) != limits:
        raise ValueError(f"offsets must ascend from 0 to {len(point_ids)}, got {limits}")
    valid = (point_ids >= 0) & (point_ids < points)
    pixel = uv.round()
    valid &= ((pixel >= 0) & (pixel < pixel.new_tensor(image_size))).all(1)
    if weights is not None:
        valid &= (weights >= 0) & weights.isfinite()
    if not bool(valid.all()):
        e = int(valid.long().argmin())
        (u, v), weight = uv[e].tolist(), 1.0 if weights is None else float(weights[e])
        raise ValueError(
            f"sighting {e}: point {int(point_ids[e])} of {points} at ({u:g}, {v:g}) in an image of "
            f"{image_size[0]} x {image_size[1]} with weight {weight:g}"
        )
    for begin, end in pairwise(limits):
        if not bool((point_ids[begin:end].diff() > 0).all()):
            raise ValueError("point_ids must ascend strictly within a view")


def _no_shape(
    state: Sequence[Tensor],
    maps: Tensor,
    sightings: Sequence[Tensor],
    weights: Tensor | None,
    image_size: Sequence[int],
    bilinear: bool,
) -> None:
    """Nothing comes out; the state keeps its shapes."""


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    FUSE,
    "(Tensor(a!)[] state, Tensor maps, Tensor[] sightings, Tensor? weights, SymInt[] image_size, bool bilinear) -> ()",
)
torch.library.impl(FUSE, "CompositeExplicitAutograd", fuse_views_reference)
torch.library.register_fake(FUSE, _no_shape)
