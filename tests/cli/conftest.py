"""A capture of a few seconds: a floor, a box on it, three frames from above, and a teacher that knows the two apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide3d.encoders.text_table import TextTable, TextTableSettings
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.rendering import render_depth
from geoguide3d.geometry.visibility import VisibilityRule, visible_points
from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.posed_folder import write_posed_folder
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

INTRINSICS = torch.tensor([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]], dtype=torch.float64)
WORDS = TextTable(["floor", "box", "lamp"], torch.eye(4)[:3], TextTableSettings(background=""))


@dataclass(frozen=True)
class Capture:
    """Where everything of the capture lies.

    Args:
        scene_list: holds the one scene.
        ply: its points, the floor's first.
        is_box: (N,) bool.
        options: what `geoguide3d distill` has to be told, besides --output.
    """

    scene_list: Path
    ply: Path
    is_box: torch.Tensor
    options: list[str]


def floor_and_box() -> tuple[Scene, torch.Tensor]:
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 51), torch.linspace(-0.8, 0.8, 41))
    inside = grid.abs().amax(dim=1) < 0.35
    outside = grid.abs().amax(dim=1) > 0.45  # what the box hides from all cameras is left out: nothing teaches it
    floor = torch.cat([grid[outside], torch.zeros(int(outside.sum()), 1)], dim=1)
    box = torch.cat([grid[inside], torch.full((int(inside.sum()), 1), 0.5)], dim=1)
    is_box = torch.arange(len(floor) + len(box)) >= len(floor)
    return Scene(torch.cat([floor, box]), colors=torch.rand(len(is_box), 3), name="room"), is_box


def camera_above(x: float) -> Camera:
    """Looks straight down from 2.5 m, with the world's y up in the image."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([-x, 0.0, 2.5])
    return Camera(INTRINSICS, pose, width=64, height=48)


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    root = tmp_path_factory.mktemp("capture")
    torch.manual_seed(0)
    scene, is_box = floor_and_box()
    cameras = {f"{index:03}": camera_above(x) for index, x in enumerate((-0.2, 0.0, 0.2))}
    image = torch.zeros(48, 64, 3, dtype=torch.uint8)
    depth: Callable[[Camera], torch.Tensor] = partial(render_depth, scene.points, splat_radius_m=0.05)
    views = [View(name, camera, lambda: image, partial(depth, camera)) for name, camera in cameras.items()]
    write_posed_folder(root / "room", views)
    write_ply(root / "room" / "room.ply", scene)
    (root / "room" / "classes.json").write_text(json.dumps({"ground": "floor", "thing": "box"}))
    (root / "room" / "probabilities").mkdir()
    for name, camera in cameras.items():
        box = visible_points(scene.points[is_box], camera, None, VisibilityRule(occlusion="none"))
        planes = np.zeros((2, 48, 64), dtype=np.uint8)
        planes[0] = 255
        planes[:, box.v, box.u] = np.array([[0], [255]])
        np.savez(root / "room" / "probabilities" / f"{name}.npz", probabilities=planes)
    (root / "scenes.txt").write_text("room # the only one\n")
    WORDS.save(root / "words.npz")
    options = ["--teacher.kind=precomputed", "--text.kind=table", f"--text.table.path={root / 'words.npz'}"]
    options += ["--text.table.background=", "--training.steps=60", "--training.points-per-step=256", "--up=0,0,1"]
    options += ["--training.hidden-channels=32", "--training.learning-rate=0.01", "--mask_rule.negatives=[floor]"]
    return Capture(root / "scenes.txt", root / "room" / "room.ply", is_box, options)


@pytest.fixture(scope="session")
def model_folder(capture: Capture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model distilled from the capture by the command."""
    from geoguide3d.cli.distill import main

    folder = tmp_path_factory.mktemp("distilled") / "model"
    assert main(["--scene-list", str(capture.scene_list), *capture.options, "--output", str(folder)]) == 0
    return folder
