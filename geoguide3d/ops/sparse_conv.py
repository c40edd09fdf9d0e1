"""Convolution over the occupied cells of a grid. The contract is written in csrc/sparse_conv.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.check_range import check_range

CONV = "geoguide3d::sparse_conv"
WEIGHT_GRADIENT = "geoguide3d::sparse_conv_weight_gradient"

Context = Any  # torch's autograd context is not typed


def sparse_conv(
    features: Tensor, weight: Tensor, bias: Tensor | None, neighbours: Tensor, transposed: Tensor | None
) -> Tensor:
    """Returns (P, D): out[p] = bias + Σ over taps t of weight[:, t] · features[neighbours[t, p]], −1 left out.

    Gradients reach features, weight and bias. torch.autocast changes nothing here: the layers of `geoguide3d.sparse`
    follow it.

    Args:
        features: (M, C) float32, float64, float16 or bfloat16.
        weight: (D, K, C), of the dtype of features.
        bias: (D,) of that dtype, or None.
        neighbours: (K, P) int32 in [−1, M): the row that each tap reads for each output (`submanifold_map`, or one of
            the two of `strided_map`). No tap reads a row twice.
        transposed: (K, M) int32 in [−1, P): the output that reads each row by each tap, for the gradient; None where it
            is `neighbours` with its taps in reverse order, as in a submanifold map.

    Returns:
        The dtype of features; half types are multiplied and added up in float32.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, a row outside [−1, M) (on CUDA a device-side assertion).
    """
    _check(features, weight, bias)
    _check_map("neighbours", neighbours, features, weight)
    if transposed is not None:
        _check_map("transposed", transposed, features, weight)
    if (len(features) if transposed is None else transposed.shape[1]) != len(features) or (
        transposed is None and neighbours.shape[1] != len(features)
    ):
        given = tuple((neighbours if transposed is None else transposed).shape)
        raise ValueError(f"the map must have a column for each of the {len(features)} rows of features, got {given}")
    out = torch.ops.geoguide3d.sparse_conv(features, weight, bias, neighbours, transposed)
    assert isinstance(out, Tensor)
    return out


def _check(features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"features must be (M, C) floats, got {tuple(features.shape)} {features.dtype}")
    if weight.ndim != 3 or weight.shape[2] != features.shape[1]:
        raise ValueError(f"weight must be (D, K, {features.shape[1]}), got {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be ({weight.shape[0]},), got {tuple(bias.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (features.dtype, features.device):
            raise ValueError(
                f"{name} must be {features.dtype} on {features.device} as features are, "
                f"got {tensor.dtype} on {tensor.device}"
            )


def _check_map(name: str, table: Tensor, features: Tensor, weight: Tensor) -> None:
    if table.ndim != 2 or table.shape[0] != weight.shape[1] or table.dtype != torch.int32:
        raise ValueError(f"{name} must be ({weight.shape[1]}, …) int32, got {tuple(table.shape)} {table.dtype}")
    if table.device != features.device:
        raise ValueError(f"{name} must be on {features.device} as features are, got {table.device}")


# --- references: obvious PyTorch, run on any device that has no kernel, and below or above autograd -------------------


def sparse_conv_reference(
    features: Tensor, weight: Tensor, bias: Tensor | None, neighbours: Tensor, transposed: Tensor | None
) -> Tensor:
    check_range(neighbours, len(features), "neighbours", least=-1)
    wide_features, wide_weight = _widened(features), _widened(weight)
    out = wide_features.new_zeros(neighbours.shape[1], weight.shape[0])
    with torch.autocast(features.device.type, enabled=False):
        for tap, sources in enumerate(neighbours):
            outputs, rows = _pairs(sources)
            out = out.index_add(0, outputs, wide_features.index_select(0, rows) @ wide_weight[:, tap].T)
    return (out if bias is None else out + bias).to(features.dtype)


def sparse_conv_weight_gradient_reference(features: Tensor, grad: Tensor, neighbours: Tensor) -> Tensor:
    check_range(neighbours, len(features), "neighbours", least=-1)
    wide_features, wide_grad = _widened(features), _widened(grad)
    taps = [wide_features.new_empty(grad.shape[1], 0, features.shape[1])]
    with torch.autocast(features.device.type, enabled=False):
        for sources in neighbours:
            outputs, rows = _pairs(sources)
            taps.append((wide_grad.index_select(0, outputs).T @ wide_features.index_select(0, rows))[:, None])
    return torch.cat(taps, dim=1).to(features.dtype)


def _widened(tensor: Tensor) -> Tensor:
    """Returns half types as float32, in which they are added up."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _pairs(sources: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the outputs that a tap has a row for, and those rows."""
    outputs = (sources >= 0).nonzero().squeeze(1)
    return outputs, sources[outputs]


# --- shapes -----------------------------------------------------------------------------------------------------------


def _shape(
    features: Tensor, weight: Tensor, bias: Tensor | None, neighbours: Tensor, transposed: Tensor | None
) -> Tensor:
    return features.new_empty(neighbours.shape[1], weight.shape[0])


def _weight_gradient_shape(features: Tensor, grad: Tensor, neighbours: Tensor) -> Tensor:
    return features.new_empty(grad.shape[1], neighbours.shape[0], features.shape[1])


# --- gradients --------------------------------------------------------------------------------------------------------


def _save(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    features, weight, _, neighbours, transposed = inputs
    ctx.save_for_backward(features, weight, neighbours, transposed)


def _gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, neighbours, transposed = ctx.saved_tensors
    by_features = by_weight = None
    if ctx.needs_input_grad[0]:
        # What a row gives to outputs comes back from them: the same convolution over the transposed map.
        backward = weight.permute(2, 1, 0)
        if transposed is None:
            by_features = torch.ops.geoguide3d.sparse_conv(grad, backward.flip(1), None, neighbours, None)
        else:
            by_features = torch.ops.geoguide3d.sparse_conv(grad, backward, None, transposed, neighbours)
    if ctx.needs_input_grad[1]:
        by_weight = torch.ops.geoguide3d.sparse_conv_weight_gradient(features, grad, neighbours)
    return by_features, by_weight, grad.sum(0) if ctx.needs_input_grad[2] else None, None, None


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    CONV, "(Tensor features, Tensor weight, Tensor? bias, Tensor neighbours, Tensor? transposed) -> Tensor"
)
torch.library.impl(CONV, "CompositeExplicitAutograd", sparse_conv_reference)
torch.library.register_fake(CONV, _shape)
torch.library.register_autograd(CONV, _gradient, setup_context=_save)

torch.library.define(WEIGHT_GRADIENT, "(Tensor features, Tensor grad, Tensor neighbours) -> Tensor")
torch.library.impl(WEIGHT_GRADIENT, "CompositeExplicitAutograd", sparse_conv_weight_gradient_reference)
torch.library.register_fake(WEIGHT_GRADIENT, _weight_gradient_shape)
