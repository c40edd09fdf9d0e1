"""How well the adapter's features answer class names on scenes that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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


class FinerClasses(Protocol):
    """Classes that are asked for by finer words, such as `encoders.label_sets.LabelSet` with details."""

    def __len__(self) -> int:
        """Returns the number of classes."""
        ...

    def classes_of(self, details: Tensor, /) -> Tensor:
        """Returns (N,) int64 classes of finer ones; what is none of these stays as it is."""
        ...


@dataclass(frozen=True)
class Validation:
    """Held-out scenes and the classes that are asked for.

    Args:
        scenes: that the adapter does not learn from.
        class_vectors: (K, C) of what is asked for; label k means row k, or what `finer` says.
        every: steps from one measurement to the next; the last step is measured too.
        finer: where rows are finer than labels. None: a row is a class.

    Raises:
        ValueError: labels that are no class, names the scene; or no point has a label.
    """

    scenes: Sequence[ValidationScene]
    class_vectors: Tensor
    every: int
    finer: FinerClasses | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"validation.every must be positive, got {self.every}")
        for scene in self.scenes:
            labels = scene.labels[scene.labels != IGNORED_LABEL]
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.class_count:
                raise ValueError(
                    f"{scene.name}: labels go from {int(labels.min())} to {int(labels.max())}, but "
                    f"{self.class_count} class names are given; name all classes, in the order of their labels"
                )
        if not any(bool((scene.labels != IGNORED_LABEL).any()) for scene in self.scenes):
            raise ValueError(
                f"no point of the {len(self.scenes)} scenes to validate with has a label; list others, or none"
            )

    @property
    def class_count(self) -> int:
        """How many classes labels tell apart."""
        return len(self.class_vectors) if self.finer is None else len(self.finer)

    @torch.no_grad()
    def measure(self, adapter: Adapter) -> Entry:
        """Returns the mean IoU and accuracy over the classes that occur, in [0, 1]."""
        matrix, device = ConfusionMatrix(self.class_count, IGNORED_LABEL), adapter.input_mean.device
        classes = self.class_vectors.to(device)
        for scene in self.scenes:
            for start in range(0, len(scene.labels), _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                found = nearest_class(adapter(read_rows(scene.features, rows).to(device)), classes).cpu()
                matrix.add(found if self.finer is None else self.finer.classes_of(found), scene.labels[rows])
        scores = matrix.scores()
        return {"validation_mean_iou": scores.mean_iou, "validation_mean_accuracy": scores.mean_accuracy}
