"""Cosines of features with text vectors, the best of them, and LERF's relevancy. Contract: csrc/cosine_query.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

SCORES = "geoguide3d::cosine_scores"
TOP1 = "geoguide3d::cosine_top1"
LEAST_LENGTH = 1e-12  # as torch.nn.functional.normalize; the header has it too

Context = Any  # torch's autograd context is not typed


def cosine_scores(features: Tensor, text: Tensor, row_scale: Tensor | None = None) -> Tensor:
    """Returns (N, K) cosines of each row of features with each row of text. Gradients reach both.

    Both are brought to unit length inside; lengths under 1e-12 count as 1e-12, so rows of zeros have cosine 0 with
    everything. Rows with NaN or infinity have cosine NaN, and so have float32 rows longer than 1.8e19.

    Args:
        features: (N, C) float32, float64, float16, bfloat16 or int8, any strides.
        text: (K, C) floats.
        row_scale: (N,) floats that int8 rows are to be multiplied by. They cancel in a cosine and are checked alone
            (not negative, finite; not inside torch.compile, and on CUDA the check waits for the device), so that
            stored features can be handed over as they are.

    Returns:
        float64 for float64 features, float32 for all others.

    Raises:
        ValueError: shapes, dtypes, devices or scales that do not fit.
    """
    _check(features, text, "text", row_scale)
    scores, _ = torch.ops.geoguide3d.cosine_scores(features, _unit(text, features))
    return _tensor(scores)


def cosine_top1(features: Tensor, text: Tensor, row_scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns (N,) int64, the row of text with the greatest cosine, and that cosine, without an (N, K) array.

    Of equal cosines the lowest row wins, so rows of zeros get label 0 and cosine 0. Rows whose cosines are all NaN get
    label -1 and NaN. Without gradients. Arguments and errors: `cosine_scores`; K must not be 0.
    """
    _check(features, text, "text", row_scale)
    _check_not_empty(text, "text")
    labels, best, _ = torch.ops.geoguide3d.cosine_top1(features.detach(), _unit(text.detach(), features), len(text))
    return _tensor(labels), _tensor(best)


def relevancy_scores(
    features: Tensor, text: Tensor, negatives: Tensor, temperature: float = 10.0, row_scale: Tensor | None = None
) -> Tensor:
    """Returns (N, K) relevancies in [0, 1]: min over j of exp(t·cos_k) / (exp(t·cos_k) + exp(t·cos_j)).

    That is the probability with which row k of text beats the negative nearest to the point; 0.5 is a draw (LERF,
    Kerr et al. 2023, section 3.3). Gradients reach features, text and negatives.

    Args:
        negatives: (J, C) floats, J > 0; LERF asks "object", "things", "stuff" and "texture".
        temperature: t.
        features, text, row_scale: as in `cosine_scores`.

    Raises:
        ValueError: as `cosine_scores`; no negatives; a temperature that is not positive and finite.
    """
    _check_relevancy(features, text, negatives, temperature, row_scale)
    everything = _unit(torch.cat([text, negatives]), features)
    scores, _ = torch.ops.geoguide3d.cosine_scores(features, everything)
    rival = scores[:, len(text) :].amax(dim=1, keepdim=True)
    return _tensor(torch.sigmoid(temperature * (scores[:, : len(text)] - rival)))


def relevancy_top1(
    features: Tensor, text: Tensor, negatives: Tensor, temperature: float = 10.0, row_scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns (N,) int64, the row of text with the greatest relevancy, and that relevancy, without an (N, K) array.

    The label is that of `cosine_top1`, because the same negative is nearest for every k. Without gradients. Arguments
    and errors: `relevancy_scores`; K must not be 0.
    """
    _check_relevancy(features, text, negatives, temperature, row_scale)
    _check_not_empty(text, "text")
    everything = _unit(torch.cat([text, negatives]).detach(), features)
    labels, best, rival = torch.ops.geoguide3d.cosine_top1(features.detach(), everything, len(text))
    return _tensor(labels), torch.sigmoid(temperature * (best - rival))


def _check(features: Tensor, text: Tensor, name: str, row_scale: Tensor | None) -> None:
    if features.ndim != 2 or not (features.is_floating_point() or features.dtype == torch.int8):
        raise ValueError(f"features must be (N, C) floats or int8, got {tuple(features.shape)} {features.dtype}")
    if text.ndim != 2 or text.shape[1] != features.shape[1] or not text.is_floating_point():
        raise ValueError(
            f"{name} must be (K, {features.shape[1]}) floats for features {tuple(features.shape)}, "
            f"got {tuple(text.shape)} {text.dtype}"
        )
    if text.device != features.device:
        raise ValueError(f"{name} must be on {features.device} as features are, got {text.device}")
    if row_scale is not None:
        _check_scale(features, row_scale)


def _check_scale(features: Tensor, row_scale: Tensor) -> None:
    if features.dtype != torch.int8:
        raise ValueError(f"row_scale belongs to int8 features, got {features.dtype} features")
    if row_scale.shape != features.shape[:1] or not row_scale.is_floating_point():
        raise ValueError(
            f"row_scale must be ({len(features)},) floats for features {tuple(features.shape)}, "
            f"got {tuple(row_scale.shape)} {row_scale.dtype}"
        )
    if row_scale.device != features.device:
        raise ValueError(f"row_scale must be on {features.device} as features are, got {row_scale.device}")
    if torch.compiler.is_compiling():
        return
    wrong = ~((row_scale >= 0) & row_scale.isfinite())
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise ValueError(f"row_scale must be finite and not negative, got {float(row_scale[row])} in row {row}")


def _check_not_empty(text: Tensor, name: str) -> None:
    if len(text) == 0:
        raise ValueError(f"{name} has no rows, got {tuple(text.shape)}")


def _check_relevancy(
    features: Tensor, text: Tensor, negatives: Tensor, temperature: float, row_scale: Tensor | None
) -> None:
    _check(features, text, "text", row_scale)
    _check(features, negatives, "negatives", None)
    _check_not_empty(negatives, "negatives")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")


def _sum_dtype(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _unit(text: Tensor, features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(text.to(_sum_dtype(features)), dim=1, eps=LEAST_LENGTH)


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def cosine_scores_reference(features: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    rows = features.to(directions.dtype)
    squares = rows.square().sum(1)
    inverse = 1 / squares.sqrt().clamp(min=LEAST_LENGTH)
    inverse = torch.where(squares.isfinite(), inverse, torch.nan)
    return inverse[:, None] * (rows @ directions.T), inverse


def cosine_top1_reference(features: Tensor, directions: Tensor, positives: int) -> tuple[Tensor, Tensor, Tensor]:
    scores, _ = cosine_scores_reference(features, directions)
    candidates = scores[:, :positives]
    best, labels = candidates.masked_fill(candidates.isnan(), -torch.inf).max(dim=1)
    none = best == -torch.inf
    nothing = scores.new_full((len(scores), 1), -torch.inf)
    rival = torch.cat([scores[:, positives:], nothing], dim=1).amax(dim=1)
    return labels.masked_fill(none, -1), best.masked_fill(none, torch.nan), rival


# --- shapes -----------------------------------------------------------------------------------------------------------


def _scores_shape(features: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    return directions.new_empty(features.shape[0], directions.shape[0]), directions.new_empty(features.shape[0])


def _top1_shape(features: Tensor, directions: Tensor, positives: int) -> tuple[Tensor, Tensor, Tensor]:
    labels = directions.new_empty(features.shape[0], dtype=torch.int64)
    return labels, directions.new_empty(features.shape[0]), directions.new_empty(features.shape[0])


# --- gradient ---------------------------------------------------------------------------------------------------------


def _save_scores(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _scores_gradient(ctx: Context, grad_scores: Tensor, grad_inverse: Tensor) -> tuple[Tensor | None, ...]:
    features, directions, scores, inverse = ctx.saved_tensors
    rows = features.to(directions.dtype)
    weights = grad_scores * inverse[:, None]
    grad_features = grad_directions = None
    if ctx.needs_input_grad[0]:
        # ∂inverse/∂row = -inverse³ · row, and 0 where the length is held at LEAST_LENGTH; 0.999 is for rounding.
        along = (grad_scores * scores).sum(1) * inverse.square() + grad_inverse * inverse.pow(3)
        along = torch.where(inverse < 0.999 / LEAST_LENGTH, along, 0)
        grad_features = torch.addcmul(weights @ directions, rows, along[:, None], value=-1).to(features.dtype)
    if ctx.needs_input_grad[1]:
        grad_directions = weights.T @ rows
    return grad_features, grad_directions


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(SCORES, "(Tensor features, Tensor directions) -> (Tensor, Tensor)")
torch.library.impl(SCORES, "CompositeExplicitAutograd", cosine_scores_reference)
torch.library.register_fake(SCORES, _scores_shape)
torch.library.register_autograd(SCORES, _scores_gradient, setup_context=_save_scores)

torch.library.define(TOP1, "(Tensor features, Tensor directions, SymInt positives) -> (Tensor, Tensor, Tensor)")
torch.library.impl(TOP1, "CompositeExplicitAutograd", cosine_top1_reference)
torch.library.register_fake(TOP1, _top1_shape)
