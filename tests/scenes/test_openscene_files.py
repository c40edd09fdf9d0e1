from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoguide3d.scenes.openscene_files import openscene_name, read_openscene
from geoguide3d.scenes.point_files import read_scene
from tests.end_to_end.openscene_layout import save

POINTS = np.array([[0.5, 1, 2], [3, -4, 5], [6, 7, 8.25]])
RGB = np.array([[0, 127, 255], [1, 2, 3], [255, 255, 255]])
LABELS = np.array([3.0, 255.0, -100.0])


@pytest.mark.parametrize("numpy_1", [True, False])
@settings(deadline=None)  # files
@given(data=st.data())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, numpy_1: bool, data: Any) -> None:
    path = tmp_path_factory.mktemp("scene") / "scene0001_00_vh_clean_2.pth"
    count = data.draw(st.integers(1, 20))
    points = data.draw(arrays.arrays(np.float64, (count, 3), elements=st.floats(-900, 900, width=32)))
    rgb = data.draw(arrays.arrays(np.uint8, (count, 3)))
    labels = data.draw(arrays.arrays(np.int64, count, elements=st.sampled_from([0, 5, 19, 255, -100])))
    kind = data.draw(st.sampled_from([np.float64, np.int32, np.int64]))
    save((points, rgb / 127.5 - 1, labels.astype(kind)), path, numpy_1)
    scene = read_scene(path)
    assert np.array_equal(scene.points_world.numpy(), points)
    assert scene.colors is not None and scene.labels is not None and scene.up is not None
    assert np.array_equal((scene.colors * 255).round().numpy(), rgb)
    assert np.array_equal(scene.labels.numpy(), np.where(labels < 0, 255, labels))
    assert (scene.name, scene.up.tolist()) == ("scene0001_00", [0, 0, 1])


@pytest.mark.parametrize("zero", [0, 0.0, np.int64(0), np.zeros(()), torch.tensor(0)])
def test_nuscenes_has_no_colours(tmp_path: Path, zero: object) -> None:
    save((POINTS, zero, LABELS), tmp_path / "a.pth")
    scene = read_openscene(tmp_path / "a.pth")
    assert scene.colors is None
    assert scene.labels is not None
    assert scene.labels.tolist() == [3, 255, 255]


def test_colours_that_rounding_carried_over_the_rim_are_cut(tmp_path: Path) -> None:
    save((POINTS, np.full((3, 3), 1.0005), LABELS), tmp_path / "a.pth")
    colors = read_openscene(tmp_path / "a.pth").colors
    assert colors is not None
    assert colors.unique().tolist() == [1.0]


def test_tensors_are_read_like_arrays(tmp_path: Path) -> None:
    save(tuple(torch.from_numpy(part) for part in (POINTS, RGB / 127.5 - 1, LABELS)), tmp_path / "a.pth")
    assert np.array_equal(read_openscene(tmp_path / "a.pth").points.numpy(), POINTS)


@pytest.mark.parametrize("name", ["scene0000_00_vh_clean_2.pth", "scene0000_00.pth", "scene0000_00"])
def test_names_have_no_suffix(name: str) -> None:
    assert openscene_name(Path("some") / name) == "scene0000_00"


def test_matterport_names_stay(tmp_path: Path) -> None:
    save((POINTS, RGB / 127.5 - 1, LABELS.astype(int)), tmp_path / "2azQ1b91cZZ_region0.pth")
    assert read_scene(tmp_path / "2azQ1b91cZZ_region0.pth").name == "2azQ1b91cZZ_region0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(5, dtype=np.int64), r"one array of shape \(5,\) \(superpoint ids"),
        ({"coord": POINTS, "color": RGB}, "a dictionary of coord, color"),
        ((POINTS, LABELS), "a tuple of 2"),
        (3, "one int"),
        ((POINTS, RGB, LABELS), r"colours must lie in \[-1, 1\] .* got 0 to 255"),
        ((POINTS, RGB / 127.5 - 0.95, LABELS), r"colours must lie in \[-1, 1\] .* to 1\.05"),
        ((POINTS, 1, LABELS), "the place of the colours holds 1"),
        ((POINTS, 0, LABELS[:2]), r"labels must be \(3,\) for 3 points, got \(2,\)"),
        ((POINTS, RGB[:2] / 255, LABELS), r"colors must be \(3, 3\) for 3 points, got \(2, 3\)"),
        ((POINTS[:, :2], 0, LABELS), r"points must be \(M, 3\)"),
        ((POINTS[:0], 0, LABELS[:0]), "zero points"),
        ((POINTS.tolist(), 0, LABELS), "coordinates are a list of 3, no array"),
        ((POINTS, 0, LABELS + 0.5), "labels must be whole numbers"),
        ((POINTS * np.nan, 0, LABELS), "all 3 points have inf or NaN"),
    ],
)
def test_other_content_is_refused_by_name(tmp_path: Path, content: object, message: str) -> None:
    save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"a\.pth: .*{message}"):
        read_scene(tmp_path / "a.pth")


def test_lost_points_are_dropped_and_remembered(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[1, 2] = np.inf
    save((points, 0, LABELS), tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="dropped 1 of 3"):
        scene = read_scene(tmp_path / "a.pth")
    assert scene.kept is not None
    assert (scene.kept.tolist(), len(scene), scene.name) == ([True, False, True], 2, "a")


@pytest.mark.parametrize("cut", [0, 10, 200, -30])
def test_a_truncated_file_is_an_error(tmp_path: Path, cut: int) -> None:
    save((POINTS, RGB / 127.5 - 1, LABELS), tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.pth"):
        read_scene(tmp_path / "a.pth")


def test_beside_a_cloud_files_of_torch_are_no_scene(tmp_path: Path) -> None:
    np.savez(tmp_path / "room.npz", points=POINTS)
    save(np.zeros(3, dtype=np.int64), tmp_path / "room.pth")
    assert read_scene(tmp_path).name == "room"
    (tmp_path / "room.npz").unlink()
    save((POINTS, 0, LABELS), tmp_path / "room.pth")
    assert read_scene(tmp_path).labels is not None
