"""What stands in the lounge, as point masks: boxes drawn in the cloud by looking at it, before any model was run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.scenes.scene import Scene

FILE = Path(__file__).with_name("lounge_boxes.json")
UNSURE = "unsure"
SAME = {"loveseat": "couch"}  # the one couch of the lounge has two seats


@dataclass(frozen=True)
class Box:
    """One box of the file.

    Args:
        label: what its points are.
        center: (3,) float64 metres in the frame of the scene's file.
        size: (3,) float64 metres, full extent along the rows of axes.
        axes: (3, 3) float64, unit rows.
    """

    label: str
    center: Tensor
    size: Tensor
    axes: Tensor

    def holds(
        self,
        points_world: Tensor,  # (N, 3)
    ) -> Tensor:
        """Returns (N,) bool."""
        local = (points_world - self.center) @ self.axes.T
        return (local.abs() <= self.size / 2).all(dim=1)


@dataclass(frozen=True)
class MarkedPoints:
    """What the boxes say of each point of the lounge.

    Args:
        masks: label → (N,) bool.
        unsure: (N,) bool: points to leave out of every measure, e.g. legs under a table. All others are the
            negatives of a label.
    """

    masks: dict[str, Tensor]
    unsure: Tensor

    def of(self, word: str) -> Tensor:
        """Returns (N,) bool for a label or a word that means one here."""
        return self.masks[SAME.get(word, word)]


def read_boxes() -> list[Box]:
    """Returns the boxes in the file's order."""
    boxes = []
    for entry in json.loads(FILE.read_text(encoding="utf-8"))["boxes"]:
        yaw = math.radians(entry["yaw_degrees"])
        cos, sin = math.cos(yaw), math.sin(yaw)
        axes = torch.tensor([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]], dtype=torch.float64)
        center, size = (torch.tensor(entry[name], dtype=torch.float64) for name in ("center", "size"))
        boxes.append(Box(entry["label"], center, size, axes))
    return boxes


def owning_box(
    points_world: Tensor,  # (N, 3) float64
    boxes: list[Box],
) -> Tensor:
    """Returns (N,) int64: the smallest box that holds each point (a backpack lies on the couch), -1 where none does."""
    owner = torch.full((len(points_world),), -1)
    for row in sorted(range(len(boxes)), key=lambda row: -float(boxes[row].size.prod())):
        owner[boxes[row].holds(points_world)] = row
    return owner


def marked_points(scene: Scene) -> MarkedPoints:
    """Returns the masks of all labels over the points of the lounge."""
    boxes = read_boxes()
    owner = owning_box(scene.points_world, boxes)
    masks = {}
    for label in dict.fromkeys(box.label for box in boxes):
        rows = torch.tensor([row for row, box in enumerate(boxes) if box.label == label])
        masks[label] = torch.isin(owner, rows)
    return MarkedPoints(masks, masks.pop(UNSURE))
