"""From features in a text space to class predictions."""

from __future__ import annotations

from torch import Tensor

from geoguide3d.evaluation.confusion import UNPREDICTED
from geoguide3d.ops import cosine_top1


def nearest_class(features: Tensor, class_vectors: Tensor, known: Tensor | None = None) -> Tensor:
    """Returns (N,) int64, the class whose vector has the largest cosine with each row; the lowest where several have.

    Args:
        features: (N, C) in the text space, any length.
        class_vectors: (K, C), any length.
        known: (N,) bool; rows where it is False get UNPREDICTED, and so do rows that are not finite.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit (`geoguide3d.ops.cosine_top1`).
    """
    predicted, _ = cosine_top1(features, class_vectors)
    unpredicted = predicted < 0 if known is None else (predicted < 0) | ~known
    return predicted.masked_fill(unpredicted, UNPREDICTED)
