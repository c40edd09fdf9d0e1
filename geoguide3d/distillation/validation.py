"""How well the adapter's features answer class names on scenes that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.rows import Rows, check_finite, read_rows
from geoguide3d.evaluation.confusion import ConfusionMatrix
from geoguide3d.evaluation.open_vocabulary import nearest_class
from geoguide3d.scenes.scene import IGNORED_LABEL
from geoguide3d.training.log import Entry

_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class ValidationScene:
    """A labelled scene of N points.

    Args:
        name: the scene's.
        features: (N, G) of the backbone.
        labels: (N,) int64, 255 ignored.

    Raises:
        ValueError: lengths that differ, or features that are not finite; names the scene.
    """

    name: str
    features: Rows
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.features):
            raise ValueError(f"{self.name}: {len(self.labels)} labels for features of {len(self.features)} points")
        check_finite(self.name, "geometric features", self.features)


@dataclass(frozen=True)
class Validation:
    """Held-out scenes and the classes that are asked for.

    Args:
        scenes: that the adapter does not learn from.
        class_vectors: (K, C) of the class names; label k means row k.
        every: steps from one measurement to the next; the last step is measured too.

    Raises:
        ValueError: labels that are no class; names the scene.
    """

    scenes: Sequence[ValidationScene]
    class_vectors: Tensor
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"validation.every must be positive, got {self.every}")
        for scene in self.scenes:
            labels = scene.labels[scene.labels != IGNORED_LABEL]
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.class_vectors):
                raise ValueError(
                    f"{scene.name}: labels go from {int(labels.min())} to {int(labels.max())}, but "
                    f"{len(self.class_vectors)} class names are given; name all classes, in the order of their labels"
                )

    @torch.no_grad()
    def measure(self, adapter: Adapter) -> Entry:
        """Returns the mean IoU and accuracy over the classes that occur, in [0, 1]."""
        matrix, device = ConfusionMatrix(len(self.class_vectors), IGNORED_LABEL), adapter.input_mean.device
        classes = self.class_vectors.to(device)
        for scene in self.scenes:
            for start in range(0, len(scene.labels), _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                said = adapter(read_rows(scene.features, rows).to(device))
                matrix.add(nearest_class(said, classes).cpu(), scene.labels[rows])
        scores = matrix.scores()
        return {"validation_mean_iou": scores.mean_iou, "validation_mean_accuracy": scores.mean_accuracy}
