from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide3d.scenes.raw_points import RawPoints

# Ranges of colours, normals, ids and bad shapes are tested through the readers: test_ply.py and test_point_files.py.
SOURCE = Path("scans/room.xyz")
POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype="f8")


def test_lost_colours_become_black_and_are_counted() -> None:
    colors = np.array([[1, 1, 1], [np.nan, 0, 1], [0.5, 0.5, np.inf], [0, 0, 1]])
    with pytest.warns(UserWarning, match=r"room\.xyz: 2 points have inf or NaN colours and become black"):
        scene = RawPoints(POINTS, colors=colors).to_scene(SOURCE)
    assert scene.colors is not None
    assert scene.colors.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_coordinates_beyond_float32_count_as_infinite() -> None:
    points = POINTS.copy()
    points[2, 0] = 1e300
    with pytest.warns(UserWarning, match="dropped 1 of 4 points"):
        scene = RawPoints(points).to_scene(SOURCE)
    assert scene.kept is not None
    assert scene.kept.tolist() == [True, True, False, True]


def test_dropped_rows_do_not_decide_the_range_of_colours() -> None:
    points = POINTS.copy()
    points[0] = np.nan
    colors = np.array([[200.0, 200, 200], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    with pytest.warns(UserWarning, match="dropped 1 of 4 points"):
        scene = RawPoints(points, colors=colors).to_scene(SOURCE)
    assert scene.colors is not None
    assert torch.equal(scene.colors, torch.eye(3))


def test_a_mesh_that_loses_all_its_faces_stays_a_mesh() -> None:
    points = POINTS.copy()
    points[0] = np.nan
    with pytest.warns(UserWarning, match="dropped 1 of 4 points"):
        scene = RawPoints(points, faces=np.array([[0, 1, 2]])).to_scene(SOURCE)
    assert scene.faces is not None
    assert scene.faces.shape == (0, 3)


@pytest.mark.parametrize(("far", "origin"), [(999.0, [0, 0, 0]), (1001.4, [1001, 0, 0])])
def test_origin_moves_only_beyond_a_kilometre(far: float, origin: list[float]) -> None:
    scene = RawPoints(POINTS * 0.1 + np.array([far, 0, 0])).to_scene(SOURCE)
    assert scene.origin_world.tolist() == origin
    np.testing.assert_allclose(scene.points_world.numpy(), POINTS * 0.1 + np.array([far, 0, 0]), rtol=0, atol=1e-4)


def test_a_given_origin_is_kept() -> None:
    scene = RawPoints(POINTS, origin=np.array([5e6, 4e5, 3.5])).to_scene(SOURCE)
    assert scene.origin_world.tolist() == [5e6, 4e5, 3.5]
    assert torch.equal(scene.points, torch.from_numpy(POINTS).float())


def test_the_scene_does_not_share_memory_with_the_file() -> None:
    points, normals = POINTS.astype("f4"), np.eye(4, 3, dtype="f4")
    scene = RawPoints(points, normals=normals, origin=np.zeros(3)).to_scene(SOURCE)
    points[:], normals[:] = 7, 7
    assert scene.points.tolist() == POINTS.tolist()
    assert scene.normals is not None
    assert float(scene.normals.max()) == 1
    assert (scene.name, scene.source) == ("room", SOURCE)
