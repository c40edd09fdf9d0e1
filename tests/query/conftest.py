"""A model small enough to reason about: two features in, three text directions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.adapter import Adapter
from geoguide3d.encoders.text_table import TextTable, TextTableSettings
from geoguide3d.query.config import MaskRule
from geoguide3d.query.model import GeoGuide, save_model
from geoguide3d.scenes.scene import Scene

NAMES = ("chair", "couch", "loveseat", "floor")


class PointsAsFeatures:
    """A backbone whose features are the coordinates."""

    name = "points"
    licence = "Apache-2.0"
    voxel_size_m, needs = 0.02, ("colors",)
    channels = 3
    config: dict[str, Any]

    def __init__(self) -> None:
        self.config = {}
        self.calls = 0

    def encode(self, scene: Scene) -> Tensor:
        self.calls += 1
        return scene.points


def table() -> TextTable:
    vectors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.95, 0.3], [0, 0, 1]])
    return TextTable(NAMES, vectors, TextTableSettings())


@pytest.fixture
def backbone() -> PointsAsFeatures:
    return PointsAsFeatures()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    torch.manual_seed(0)
    rule = MaskRule(threshold=0.4, negatives=("floor", "couch"))
    save_model(folder, Adapter(3, 3, hidden_channels=4), BackboneRecord("points"), table(), rule, "a {}")
    return folder


@pytest.fixture
def model(model_folder: Path, backbone: PointsAsFeatures) -> GeoGuide:
    return GeoGuide.from_pretrained(model_folder, backbone)


@pytest.fixture
def room() -> Scene:
    """A floor of 2 × 2 m with a box on it, z up, with colours and normals."""
    grid = torch.cartesian_prod(torch.linspace(0, 2, 41), torch.linspace(0, 2, 41))
    floor = torch.cat([grid, torch.zeros(len(grid), 1)], dim=1)
    top = floor[(grid - 1).abs().amax(dim=1) < 0.31] + torch.tensor([0.0, 0.0, 0.5])
    points = torch.cat([floor, top])
    colors = torch.full((len(points), 3), 0.5)
    colors[len(floor) :] = torch.tensor([0.8, 0.1, 0.1])
    normals = torch.tensor([0.0, 0.0, 1.0]).expand(len(points), -1).contiguous()
    return Scene(points, colors=colors, normals=normals, up=torch.tensor([0.0, 0.0, 1.0]), name="room")
