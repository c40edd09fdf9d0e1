"""superpoints_of_scene: which edges, which normals, which colours; and what real scans give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from geoguide3d.evaluation.superpoints import superpoint_scores
from geoguide3d.geometry.superpoints import (
    SuperpointSettings,
    neighbor_edges,
    superpoints_of_cloud,
    superpoints_of_mesh,
)
from geoguide3d.scenes.ply import read_ply
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoints import superpoints_of_scene

SIDE = 16


def hill() -> tuple[Tensor, Tensor]:
    """A wavy height field, 2 cm grid: (256, 3) points and faces."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    points = torch.stack([0.02 * x, 0.02 * y, 0.03 * torch.sin(0.9 * x) * torch.cos(0.5 * y)], -1).reshape(-1, 3)
    ids = torch.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = ids[:-1, :-1], ids[:-1, 1:], ids[1:, :-1], ids[1:, 1:]
    return points, torch.stack([a, b, c, b, d, c], -1).reshape(-1, 3)


def scene(**fields: Tensor | None) -> Scene:
    points, _ = hill()
    colors = torch.rand(len(points), 3, generator=torch.Generator().manual_seed(0))
    return Scene(points=points, **{"colors": colors} | fields)


SMALL = SuperpointSettings(min_size=5)


def test_faces_are_followed_where_there_are_any() -> None:
    points, faces = hill()
    expected = superpoints_of_mesh(points, faces, SMALL)
    assert torch.equal(superpoints_of_scene(scene(faces=faces), SMALL), expected)
    assert int(expected.max()) > 2
    normals = torch.nn.functional.normalize(torch.rand(len(points), 3), dim=1)
    assert torch.equal(superpoints_of_scene(scene(faces=faces, normals=normals), SMALL), expected)
    no_faces = superpoints_of_scene(scene(faces=faces[:0]), SMALL)
    assert torch.equal(no_faces, superpoints_of_cloud(points, None, SMALL, scene().colors))


def test_a_mesh_uses_its_colours_where_they_have_a_weight() -> None:
    points, faces = hill()
    colored = replace(SMALL, color_weight=1.0)
    expected = superpoints_of_mesh(points, faces, colored, scene().colors)
    assert torch.equal(superpoints_of_scene(scene(faces=faces), colored), expected)
    assert not torch.equal(superpoints_of_scene(scene(faces=faces), SMALL), expected)


def test_a_cloud_uses_its_normals_and_colors() -> None:
    cloud = scene(normals=torch.nn.functional.normalize(hill()[0] + 1, dim=1))
    expected = superpoints_of_cloud(cloud.points, cloud.normals, SMALL, cloud.colors)
    assert torch.equal(superpoints_of_scene(cloud, SMALL), expected)
    assert not torch.equal(superpoints_of_scene(replace(cloud, colors=None), SMALL), expected)
    assert not torch.equal(superpoints_of_scene(replace(cloud, normals=None), SMALL), expected)


def test_points_whose_normal_is_zero_take_one_from_their_neighbours() -> None:
    points, _ = hill()
    flat = points * torch.tensor([1.0, 1.0, 0.0])
    normals = torch.tensor([0.0, 0, 1]).repeat(len(points), 1)
    normals[100] = 0
    labels = superpoints_of_scene(Scene(points=flat, normals=normals), SuperpointSettings(min_size=0))
    assert labels.unique().tolist() == [0]


def test_settings_that_do_not_fit_the_scene_name_it() -> None:
    bare = Scene(points=hill()[0], name="attic")
    with pytest.raises(ValueError, match=r"attic: color_weight is 1\.0, but the scene has no colours"):
        superpoints_of_scene(bare, SuperpointSettings(color_weight=1.0))
    with pytest.raises(ValueError, match="attic: sided superpoints need the scene's own normals"):
        superpoints_of_scene(bare, SuperpointSettings(sided=True))
    assert superpoints_of_scene(bare).shape == (SIDE * SIDE,)


def test_one_point_and_two_far_points() -> None:
    assert superpoints_of_scene(Scene(points=torch.zeros(1, 3))).tolist() == [0]
    assert superpoints_of_scene(Scene(points=torch.tensor([[0.0, 0, 0], [5, 0, 0]]))).tolist() == [0, 0]


def test_superpoints_of_a_real_table_keep_to_its_objects(shared_data: Path) -> None:
    table = read_ply(shared_data / "tabletop" / "learn38.ply")
    assert table.labels is not None
    superpoints = superpoints_of_scene(table)
    assert superpoints.shape == (len(table),)
    assert superpoints.unique().tolist() == list(range(int(superpoints.max()) + 1))
    scores = superpoint_scores(superpoints, table.labels, neighbor_edges(table.points), ignored=0)
    assert scores.purity > 0.99
    assert scores.label_purity > 0.95
    assert scores.count < 400
