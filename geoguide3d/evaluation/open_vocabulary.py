"""From features in a text space to class predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.evaluation.confusion import UNPREDICTED

_ROWS_AT_ONCE = 65_536


def nearest_class(features: Tensor, class_vectors: Tensor, known: Tensor | None = None) -> Tensor:
    """Returns (N,) int64, the class whose vector has the largest cosine with each row.

    Args:
        features: (N, C) in the text space, any length.
        class_vectors: (K, C) unit rows.
        known: (N,) bool; rows where it is False get UNPREDICTED.
    """
    best = [
        (rows.to(class_vectors.dtype) @ class_vectors.T).argmax(dim=1) for rows in torch.split(features, _ROWS_AT_ONCE)
    ]
    predicted = torch.cat(best)
    return predicted if known is None else predicted.masked_fill(~known, UNPREDICTED)
