"""Guides: superpoints and masks made of a scene's surface, or none, and what the log tells of them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from geoguide3d.distillation.guides import Guides, MaskSettings
from geoguide3d.geometry.proposals import ProposalSettings
from geoguide3d.geometry.superpoints import SuperpointSettings
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.scene import Scene

FILES = SceneFiles("corner", Path("corner.ply"))


def corner(side: int = 12, cell_m: float = 0.05) -> Scene:
    """A floor and a wall that meet at a right angle, as a mesh."""
    steps = torch.arange(side) * cell_m
    along, out = (
        part.reshape(-1) for part in torch.meshgrid(steps, torch.arange(2 * side - 1) * cell_m, indexing="ij")
    )
    edge = (side - 1) * cell_m
    points = torch.stack([along, out.clamp(max=edge), (out - edge).clamp(min=0)], dim=1)
    first = (torch.arange(side - 1)[:, None] * (2 * side - 1) + torch.arange(2 * side - 2)).reshape(-1)
    right, up = first + 1, first + 2 * side - 1
    faces = torch.cat([torch.stack([first, up, right], 1), torch.stack([right, up, up + 1], 1)])
    return Scene(points=points, name="corner", faces=faces)


def test_a_corner_is_cut_at_its_fold_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    guides = Guides(SuperpointSettings(min_size=30), MaskSettings(proposals=ProposalSettings(least_points=20)))
    scene = corner()
    with caplog.at_level(logging.INFO):
        superpoints = guides.superpoints_of(FILES, scene)
        masks = guides.masks_of(FILES, scene, superpoints)
    assert superpoints is not None and masks is not None
    assert int(superpoints.max()) == 1
    assert set(superpoints[scene.points[:, 2] > 0.1].tolist()).isdisjoint(
        superpoints[scene.points[:, 1] < 0.4].tolist()
    )
    assert masks.point_count == len(scene)
    told = "\n".join(caplog.messages)
    assert "corner: 2 superpoints, made of its surface" in told
    assert f"corner: {len(masks)} masks of instances, proposed from superpoints" in told


def test_nothing_is_made_where_nothing_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Guides().superpoints_of(FILES, corner()) is None
        assert Guides().masks_of(FILES, corner(), None) is None
        assert Guides(masks=MaskSettings()).masks_of(FILES, corner(), None) is None  # proposals need superpoints
    assert caplog.messages == []
