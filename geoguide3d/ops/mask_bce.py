"""Binary cross-entropy between masks and cosines of mask and point features. The contract is in csrc/mask_bce.h."""

from __future__ import annotations

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops import scalar_gradients
from geoguide3d.ops.check_range import check_range
from geoguide3d.ops.unit_rows import SHORTEST_ROW, through_unit_rows, unit_rows

NAME = "geoguide3d::mask_bce"


def mask_bce(
    mask_features: Tensor,  # (M, C)
    point_features: Tensor,  # (N, C)
    offsets: Tensor,  # (M + 1,)
    point_ids: Tensor,  # (E,)
    scale: float = 1.0,
    balanced: bool = False,
) -> Tensor:
    """Returns the mean over all M·N pairs of the BCE of sigmoid(scale · cos(mask feature, point feature)), a scalar.

    The target of a pair is 1 where the mask holds the point, else 0 (GeoGuide 2026, instance mask reconstruction; at
    scale 1 the value cannot go below ln(1 + 1/e) = 0.3133). Nothing of M×N elements is made. Gradients reach both
    features, each only where it requires one; there is no second derivative. No masks or no points give 0.

    Args:
        mask_features: (M, C) float32, float64, float16 or bfloat16; divided by max(length, 1e-8) as in
            torch.nn.CosineSimilarity.
        point_features: (N, C) of the same dtypes, divided likewise.
        offsets: (M + 1,) int64: mask m holds point_ids[offsets[m]:offsets[m + 1]]. Masks may overlap and be empty.
        point_ids: (E,) int64 in [0, N), in any order, each at most once per mask.
        scale: factor of the cosines.
        balanced: in every mask, its points and the others weigh the same in total: their means are averaged, and the
            value is the mean of that over masks. A mask that holds no point or all keeps the plain mean.

    Returns:
        float64 where a feature is float64, else float32 (half types are multiplied in float32).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, offsets that descend or do not end at E, a point outside
            [0, N) or twice in a mask (what tensors hold is checked by device-side assertions on CUDA).
        RuntimeError: a second derivative is asked for.
    """
    _check(mask_features, point_features, offsets, point_ids)
    if torch.float64 in (mask_features.dtype, point_features.dtype):
        point_features = point_features.double()
    dtype = torch.float64 if point_features.dtype == torch.float64 else torch.float32
    queries = scale * torch.nn.functional.normalize(mask_features.to(dtype), eps=SHORTEST_ROW)
    wanted = scalar_gradients.wanted_gradients(queries, point_features)
    value, _, _ = torch.ops.geoguide3d.mask_bce(queries, point_features, offsets, point_ids, balanced, wanted)
    assert isinstance(value, Tensor)
    return value


def _check(mask_features: Tensor, point_features: Tensor, offsets: Tensor, point_ids: Tensor) -> None:
    shapes = tuple(mask_features.shape), tuple(point_features.shape)
    if mask_features.ndim != 2 or point_features.ndim != 2 or mask_features.shape[1] != point_features.shape[1]:
        raise ValueError(
            f"mask_features and point_features must be (M, C) and (N, C), got {', '.join(map(str, shapes))}"
        )
    if not mask_features.is_floating_point() or not point_features.is_floating_point():
        raise ValueError(
            f"mask_features and point_features must be floats, got {mask_features.dtype}, {point_features.dtype}"
        )
    masks = mask_features.shape[0]
    if offsets.shape != (masks + 1,) or offsets.dtype != torch.int64:
        raise ValueError(
            f"offsets must be ({masks + 1},) int64 for {masks} masks, got {tuple(offsets.shape)} {offsets.dtype}"
        )
    if point_ids.ndim != 1 or point_ids.dtype != torch.int64:
        raise ValueError(f"point_ids must be (E,) int64, got {tuple(point_ids.shape)} {point_ids.dtype}")
    for name, tensor in (("mask_features", mask_features), ("offsets", offsets), ("point_ids", point_ids)):
        if tensor.device != point_features.device:
            raise ValueError(f"{name} must be on {point_features.device} as point_features are, got {tensor.device}")


# --- reference: obvious PyTorch, runs on any device that has no kernel ------------------------------------------------


def mask_bce_reference(
    queries: Tensor, points: Tensor, offsets: Tensor, point_ids: Tensor, balanced: bool, gradients: int
) -> tuple[Tensor, Tensor, Tensor]:
    m, n = queries.shape[0], points.shape[0]
    inside = _dense_masks(offsets, point_ids, n, queries)
    weights = torch.ones_like(inside)
    if balanced:
        held = inside.sum(1, keepdim=True)
        weights = torch.where(inside > 0, n / (2 * held), n / (2 * (n - held)))
        weights = torch.where((held == 0) | (held == n), 1.0, weights)
    weights = weights / max(1, m * n)
    unit, lengths = unit_rows(points.to(queries.dtype))
    logits = queries @ unit.T
    value = torch.nn.functional.binary_cross_entropy_with_logits(logits, inside, weights, reduction="sum")
    slopes = weights * (logits.sigmoid() - inside)
    by_queries, by_points = slopes @ unit, through_unit_rows(slopes.T @ queries, unit, lengths)
    return value, by_queries if gradients & 1 else by_queries[:0], by_points if gradients & 2 else by_points[:0]


def _dense_masks(offsets: Tensor, point_ids: Tensor, n: int, like: Tensor) -> Tensor:
    """Returns (M, N) of 0 and 1."""
    masks = offsets.shape[0] - 1
    if offsets[0] != 0 or offsets[-1] != len(point_ids) or bool((offsets.diff() < 0).any()):
        raise ValueError(f"offsets must ascend from 0 to {len(point_ids)}, got {offsets.tolist()}")
    check_range(point_ids, n, "point_ids")
    of_mask = torch.repeat_interleave(torch.arange(masks, device=offsets.device), offsets.diff())
    count = torch.zeros(masks, n, device=like.device, dtype=like.dtype)
    count.index_put_((of_mask, point_ids), count.new_ones(()), accumulate=True)
    if bool((count > 1).any()):
        raise ValueError("a mask holds a point twice")
    return count


# --- shapes and registration ------------------------------------------------------------------------------------------


def _shape(
    queries: Tensor, points: Tensor, offsets: Tensor, point_ids: Tensor, balanced: bool, gradients: int
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        queries.new_empty(()),
        queries.new_empty((queries.shape[0] if gradients & 1 else 0, queries.shape[1])),
        queries.new_empty((points.shape[0] if gradients & 2 else 0, queries.shape[1])),
    )


torch.library.define(
    NAME,
    "(Tensor queries, Tensor points, Tensor offsets, Tensor point_ids, bool balanced, int gradients)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.impl(NAME, "CompositeExplicitAutograd", mask_bce_reference)
torch.library.register_fake(NAME, _shape)
torch.library.register_autograd(NAME, scalar_gradients.scale, setup_context=scalar_gradients.save)
