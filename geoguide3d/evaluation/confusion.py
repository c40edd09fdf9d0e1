"""ConfusionMatrix: counts of predicted against true classes, and the scores read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

IGNORED, UNPREDICTED = 255, 256  # OpenScene's ids: a label that is not scored, a point without a prediction


@dataclass(frozen=True)
class Scores:
    """Means over classes, in [0, 1]."""

    mean_iou: float
    mean_accuracy: float


class ConfusionMatrix:
    """Counts (predicted, true) pairs over any number of scenes.

    Args:
        num_classes: K.
        ignored: label whose points are not counted.
        unpredicted: prediction of a point that got none, such as one without a feature.

    Attributes:
        counts: (K + 1, K) int64 on the CPU, rows are predictions, the last one of points without.
    """

    def __init__(self, num_classes: int, ignored: int = IGNORED, unpredicted: int = UNPREDICTED) -> None:
        if num_classes < 1 or 0 <= ignored < num_classes or 0 <= unpredicted < num_classes:
            raise ValueError(f"ignored={ignored}, unpredicted={unpredicted} must lie outside of {num_classes} classes")
        self.num_classes = num_classes
        self.ignored = ignored
        self.unpredicted = unpredicted
        self.counts = torch.zeros((num_classes + 1, num_classes), dtype=torch.int64)

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Counts one scene.

        Args:
            predicted: (N,) int64 in [0, K), or `unpredicted`.
            labels: (N,) int64 in [0, K), or `ignored`.

        Raises:
            ValueError: unequal lengths, or an id that is none of these.
        """
        if predicted.shape != labels.shape or labels.ndim != 1:
            raise ValueError(f"predicted {tuple(predicted.shape)} and labels {tuple(labels.shape)} must be (N,) alike")
        counted = labels != self.ignored
        predicted, labels = predicted[counted].to(torch.int64), labels[counted].to(torch.int64)
        without = predicted == self.unpredicted
        for name, ids in (("predicted", predicted[~without]), ("labels", labels)):
            wrong = ids[(ids < 0) | (ids >= self.num_classes)]
            if len(wrong):
                raise ValueError(f"{name} holds {int(wrong[0])}, outside of {self.num_classes} classes")
        predicted = predicted.masked_fill(without, self.num_classes)
        pairs = torch.bincount(predicted * self.num_classes + labels, minlength=self.counts.numel())
        self.counts += pairs.cpu().view_as(self.counts)

    def iou(self, unpredicted: Literal["wrong", "dropped"] = "wrong") -> Tensor:
        """Returns (K,) float64 tp / (tp + fp + fn), NaN for classes without a labelled point.

        Args:
            unpredicted: whether points without prediction count as missed, or leave the sum (as in OpenScene).
        """
        predictions = self.counts[:-1]
        labelled = self.counts.sum(0) if unpredicted == "wrong" else predictions.sum(0)
        hits = predictions.diagonal()
        union = (predictions.sum(1) + labelled - hits).clamp(min=1)
        return self._where_labelled(hits.to(torch.float64) / union)

    def accuracy(self) -> Tensor:
        """Returns (K,) float64 share of each class's points that got it, NaN for classes without a labelled point."""
        return self._where_labelled(self.counts.diagonal().to(torch.float64) / self.counts.sum(0).clamp(min=1))

    def mean_iou(
        self, absent: Literal["skip", "zero"] = "skip", unpredicted: Literal["wrong", "dropped"] = "wrong"
    ) -> float:
        """Returns the mean IoU; classes without a labelled point are left out, or count as 0."""
        return _mean(self.iou(unpredicted), absent)

    def mean_accuracy(self, absent: Literal["skip", "zero"] = "skip") -> float:
        """Returns the mean accuracy over classes; those without a labelled point are left out, or count as 0."""
        return _mean(self.accuracy(), absent)

    def scores(self, convention: Literal["present", "openscene"] = "present") -> Scores:
        """Returns both means under a named convention.

        "present": over the classes that have labelled points; a point without prediction is wrong.
        "openscene": over all classes, absent ones as 0; a point without prediction leaves the IoU but is wrong in the
        accuracy (openscene @ 0f369bc, `util/metric.py`).
        """
        if convention == "openscene":
            return Scores(self.mean_iou("zero", "dropped"), self.mean_accuracy("zero"))
        return Scores(self.mean_iou(), self.mean_accuracy())

    def _where_labelled(self, values: Tensor) -> Tensor:
        return values.masked_fill(self.counts.sum(0) == 0, torch.nan)


def _mean(values: Tensor, absent: Literal["skip", "zero"]) -> float:
    return float(values.nan_to_num(0.0).mean() if absent == "zero" else values.nanmean())
