"""Guides: superpoints and masks made of a scene's surface, or none, and what the log tells of them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from geoguide3d.distillation.guides import Guides, MaskSettings
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.geometry.proposals import ProposalSettings
from geoguide3d.geometry.superpoints import SuperpointSettings
from geoguide3d.scenes.mask_files import write_masks
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoint_files import write_superpoints

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


def test_files_are_read_where_they_are_named(tmp_path: Path) -> None:
    scene = corner()
    halves = (torch.arange(len(scene)) < 100).long()
    files = SceneFiles("corner", Path("corner.ply"), tmp_path / "corner.pth", tmp_path / "corner.npz")
    write_superpoints(tmp_path / "corner.pth", 1 - halves, scene)
    both = PointMasks.from_labels(halves)
    write_masks(
        tmp_path / "corner.npz", PointMasks(both.offsets, both.point_ids, len(scene), torch.tensor([0.5, 0.25])), scene
    )
    guides = Guides(SuperpointSettings(), MaskSettings(least_score=0.5))
    superpoints = guides.superpoints_of(files, scene)
    masks = guides.masks_of(files, scene, superpoints)
    assert superpoints is not None and masks is not None
    assert torch.equal(superpoints, 1 - halves)
    assert torch.equal(masks.to_dense(), halves.eq(0)[None])  # the least score itself is enough
    every = Guides(SuperpointSettings(), MaskSettings(kind="maskclustering")).masks_of(files, scene, superpoints)
    assert every is not None and every.known_scores.tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match=r"no masks of kind 'open3dis' are in a file \.npz"):
        Guides(SuperpointSettings(), MaskSettings(kind="open3dis")).masks_of(files, scene, superpoints)


def test_proposals_follow_their_settings() -> None:
    scene, superpoints = corner(), (corner().points[:, 2] > 0).long()
    counts = []
    for most in (1, 200):
        masks = MaskSettings(proposals=ProposalSettings(least_points=20, most_masks=most))
        found = Guides(SuperpointSettings(), masks).masks_of(FILES, scene, superpoints)
        assert found is not None
        counts.append(len(found))
    assert counts[0] == 1 < counts[1]


def test_nothing_is_made_where_nothing_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert Guides().superpoints_of(FILES, corner()) is None
        assert Guides().masks_of(FILES, corner(), None) is None
        assert Guides(masks=MaskSettings()).masks_of(FILES, corner(), None) is None  # proposals need superpoints
    assert caplog.messages == []
