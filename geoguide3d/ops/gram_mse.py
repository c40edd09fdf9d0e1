"""Mean squared difference of two Gram matrices. The contract is written in csrc/gram_mse.h."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops import scalar_gradients
from geoguide3d.ops.unit_rows import through_unit_rows, unit_rows

NAME = "geoguide3d::gram_mse"

Form = Literal["auto", "tiled", "factored"]
FORMS: tuple[Form, ...] = ("auto", "tiled", "factored")


def gram_mse(
    geometric: Tensor,  # (N, G)
    semantic: Tensor,  # (N, C)
    normalize: bool = True,
    *,
    form: Form = "auto",
) -> Tensor:
    """Returns the mean over all N² pairs of rows of (geometric_i · geometric_j − semantic_i · semantic_j)², a scalar.

    Says how far two descriptions of the same N things disagree about which of them are alike, whatever the channels
    mean (GeoGuide 2026, inter-instance relation consistency). No N×N matrix is made. Gradients reach both inputs, each
    only where it requires one; there is no second derivative. N = 0 gives 0.

    Args:
        geometric: (N, G) float32, float64, float16 or bfloat16.
        semantic: (N, C) the same dtypes; may differ from that of `geometric`.
        normalize: divide rows by max(length, 1e-8) first, so that products are cosines.
        form: "tiled" costs N²·(G + C) and is accurate however well the two agree; "factored" costs N·(G + C)² and on
            CUDA loses digits where they nearly agree (csrc/gram_mse.h); "auto" takes the cheaper one.

    Returns:
        float64 where an input is float64, else float32 (half types are multiplied in float32).

    Raises:
        ValueError: shapes, dtypes, devices or a form that do not fit.
        RuntimeError: a second derivative is asked for.
    """
    if geometric.ndim != 2 or semantic.ndim != 2 or geometric.shape[0] != semantic.shape[0]:
        raise ValueError(
            f"geometric and semantic must be (N, G) and (N, C), got {tuple(geometric.shape)}, {tuple(semantic.shape)}"
        )
    if not geometric.is_floating_point() or not semantic.is_floating_point():
        raise ValueError(f"geometric and semantic must be floats, got {geometric.dtype}, {semantic.dtype}")
    if geometric.device != semantic.device:
        raise ValueError(f"semantic must be on {geometric.device} as geometric is, got {semantic.device}")
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    wanted = scalar_gradients.wanted_gradients(geometric, semantic)
    value, _, _ = torch.ops.geoguide3d.gram_mse(geometric, semantic, normalize, FORMS.index(form), wanted)
    assert isinstance(value, Tensor)
    return value


# --- reference: obvious PyTorch, runs on any device that has no kernel ------------------------------------------------


def gram_mse_reference(
    geometric: Tensor, semantic: Tensor, normalize: bool, form: int, gradients: int
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = _result_dtype(geometric, semantic)
    g, s = geometric.to(dtype), semantic.to(dtype)
    if normalize:
        (g, g_lengths), (s, s_lengths) = unit_rows(g), unit_rows(s)
    pairs = max(1, geometric.shape[0]) ** 2
    difference = g @ g.T - s @ s.T
    by_g, by_s = 4 / pairs * difference @ g, -4 / pairs * difference @ s
    if normalize:
        by_g, by_s = through_unit_rows(by_g, g, g_lengths), through_unit_rows(by_s, s, s_lengths)
    value = difference.square().sum() / pairs
    return value, by_g if gradients & 1 else by_g[:0], by_s if gradients & 2 else by_s[:0]


def _result_dtype(geometric: Tensor, semantic: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (geometric.dtype, semantic.dtype) else torch.float32


# --- shapes and registration ------------------------------------------------------------------------------------------


def _shape(
    geometric: Tensor, semantic: Tensor, normalize: bool, form: int, gradients: int
) -> tuple[Tensor, Tensor, Tensor]:
    dtype, n = _result_dtype(geometric, semantic), geometric.shape[0]
    return (
        geometric.new_empty((), dtype=dtype),
        geometric.new_empty((n if gradients & 1 else 0, geometric.shape[1]), dtype=dtype),
        geometric.new_empty((n if gradients & 2 else 0, semantic.shape[1]), dtype=dtype),
    )


torch.library.define(
    NAME, "(Tensor geometric, Tensor semantic, bool normalize, int form, int gradients) -> (Tensor, Tensor, Tensor)"
)
torch.library.impl(NAME, "CompositeExplicitAutograd", gram_mse_reference)
torch.library.register_fake(NAME, _shape)
torch.library.register_autograd(NAME, scalar_gradients.scale, setup_context=scalar_gradients.save)
