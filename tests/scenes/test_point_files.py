from __future__ import annotations

import builtins
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.scene import Scene

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], dtype="f4")
FACES = np.array([[0, 1, 2], [0, 3, 1]])
RGB = np.array([[0, 0, 0], [51, 0, 0], [0, 102, 0], [0, 0, 255]], dtype="u1")


def test_reads_every_array_of_an_npz(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "room.npz",
        points=POINTS,
        colors=RGB,
        normals=POINTS + 1,
        labels=np.array([3, -1, 255, 0]),
        instances=np.array([-5, 0, 1, 2]),
        faces=FACES,
        up=np.array([0, -2.0, 0]),
        origin=np.array([5e5, 4e6, 1.0]),
    )
    scene = read_scene(tmp_path / "room.npz")
    assert scene.name == "room"
    assert scene.source == tmp_path / "room.npz"
    for value, expected in (
        (scene.points, POINTS),
        (scene.points_world, POINTS + np.array([5e5, 4e6, 1.0])),
        (scene.colors, RGB / np.float32(255)),
        (scene.labels, [3, 255, 255, 0]),
        (scene.instances, [-1, 0, 1, 2]),
        (scene.faces, FACES),
        (scene.up, [0, -1, 0]),
    ):
        assert value is not None
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-7)
    assert scene.normals is not None
    torch.testing.assert_close(scene.normals.norm(dim=1), torch.ones(4))


def test_npz_of_points_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=POINTS.astype("f8"))
    scene = read_scene(str(tmp_path / "a.npz"))
    assert scene.points.tolist() == POINTS.tolist()
    assert [scene.colors, scene.normals, scene.labels, scene.instances, scene.faces, scene.up] == [None] * 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xyz": POINTS}, r"no array 'points', only \['xyz'\]"),
        ({"points": POINTS[:, :2]}, r"points must be \(M, 3\), got \(4, 2\)"),
        ({"points": POINTS[:0]}, "zero points"),
        ({"points": POINTS * np.nan}, "all 4 points have inf or NaN"),
        ({"points": POINTS, "colors": RGB[:3]}, r"colors must be \(4, 3\) for 4 points, got \(3, 3\)"),
        ({"points": POINTS, "labels": np.zeros((4, 1))}, r"labels must be \(4,\)"),
        ({"points": POINTS, "up": np.zeros(2)}, r"up must be \(3,\)"),
        ({"points": POINTS, "up": np.zeros(3)}, r"up must be a direction, got \[0.0, 0.0, 0.0\]"),
        ({"points": POINTS, "up": np.array([0, np.nan, 1])}, "up must be a direction"),
        ({"points": POINTS, "origin": np.array([0, np.inf, 1])}, "origin must be finite"),
        ({"points": POINTS, "faces": np.array([[0, 1, 9]])}, "a face names vertex 9"),
        ({"points": POINTS, "faces": np.zeros((2, 4), int)}, r"faces must be \(F, 3\)"),
        ({"points": np.array([{"x": 0}], dtype=object)}, "not a whole .npz of plain arrays"),
    ],
)
def test_refuses_a_bad_npz(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=rf"bad\.npz: .*{message}"):
        read_scene(tmp_path / "bad.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and then nothing"])
def test_refuses_what_is_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.npz: not a whole \.npz"):
        read_scene(tmp_path / "bad.npz")


def test_refuses_a_truncated_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", points=POINTS)
    whole = (tmp_path / "bad.npz").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "bad.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"bad\.npz: not a whole \.npz"):
            read_scene(tmp_path / "bad.npz")


def test_obj_keeps_order_lone_vertices_quads_and_colors(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "# exported\nmtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 1 1 0 0 0 1\nv 0 1 0 1 1 1\nv 9 9 9 0 0 0\n"
        "vt 0 0\nvn 0 0 1\nf 1/1/1 2/1/1 3/1/1 4/1/1\nf -5//1 -4//1 -3//1\n"
    )
    scene = read_scene(tmp_path / "a.obj")
    assert scene.points.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]]
    assert scene.faces is not None
    assert scene.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    assert scene.colors is not None
    assert scene.colors[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 zero\n", r"bad\.obj:1: not an OBJ line"),
        ("v 0 0 0\nf 1 2 x\n", r"bad\.obj:2: not an OBJ line"),
        ("v 0 0\n", r"vertices hold \[2\] numbers"),
        ("v 0 0 0\nv 1 1 1 1 0 0\n", r"vertices hold \[3, 6\] numbers"),
        ("v 0 0 0\nf 1 1 7\n", "a face names vertex 6"),
        ("hello\n", "zero points"),
    ],
)
def test_refuses_a_bad_obj(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.obj").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_scene(tmp_path / "bad.obj")


def test_pcd_keeps_order_labels_and_counts_what_it_drops(tmp_path: Path) -> None:
    o3d = pytest.importorskip("open3d")
    points = POINTS.copy()
    points[1, 1] = np.nan
    cloud = o3d.t.geometry.PointCloud()
    cloud.point.positions = o3d.core.Tensor(points)
    cloud.point.colors = o3d.core.Tensor(RGB)
    cloud.point.label = o3d.core.Tensor(np.array([[7], [8], [9], [10]], dtype="i4"))
    assert o3d.t.io.write_point_cloud(str(tmp_path / "a.pcd"), cloud)
    with pytest.warns(UserWarning, match="dropped 1 of 4 points"):
        scene = read_scene(tmp_path / "a.pcd")
    assert scene.kept is not None
    assert scene.kept.tolist() == [True, False, True, True]
    assert scene.labels is not None
    assert scene.labels.tolist() == [7, 9, 10]
    assert scene.colors is not None
    np.testing.assert_allclose(scene.colors.numpy(), RGB[[0, 2, 3]] / 255, atol=1e-6)


@pytest.mark.parametrize("suffix", [".off", ".stl", ".gltf"])
def test_meshes_through_open3d(tmp_path: Path, suffix: str) -> None:
    o3d = pytest.importorskip("open3d")
    mesh = o3d.geometry.TriangleMesh(o3d.utility.Vector3dVector(POINTS), o3d.utility.Vector3iVector(FACES))
    mesh.compute_triangle_normals()
    assert o3d.io.write_triangle_mesh(str(tmp_path / f"a{suffix}"), mesh)
    scene = read_scene(tmp_path / f"a{suffix}")
    assert scene.faces is not None
    corners = scene.points[scene.faces].numpy()
    np.testing.assert_allclose(np.sort(corners, axis=1), np.sort(POINTS[FACES], axis=1))
    assert (scene.up is not None) == (suffix == ".gltf")
    if scene.up is not None:
        assert scene.up.tolist() == [0, 1, 0]


def test_glb_applies_the_node_and_reads_colors(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    rgba = np.column_stack([RGB, np.full(4, 255)]).astype("u1")
    blocks = [POINTS.tobytes(), FACES.astype("<u4").tobytes(), rgba.tobytes()]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    description = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [5, 0, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 2}, "indices": 1}]}],
        "buffers": [{"byteLength": starts[-1]}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(block)}
            for start, block in zip(starts, blocks, strict=False)
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 2, 3]},
            {"bufferView": 1, "componentType": 5125, "count": 6, "type": "SCALAR"},
            {"bufferView": 2, "componentType": 5121, "count": 4, "type": "VEC4", "normalized": True},
        ],
    }
    text = json.dumps(description).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", starts[-1], b"BIN\0") + b"".join(blocks)
    (tmp_path / "a.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
    scene = read_scene(tmp_path / "a.glb")
    assert scene.points.tolist() == (POINTS + np.array([5, 0, 0], "f4")).tolist()
    assert scene.colors is not None
    np.testing.assert_allclose(scene.colors.numpy(), RGB / 255, atol=1e-6)
    assert scene.up is not None
    assert scene.up.tolist() == [0, 1, 0]


@pytest.mark.parametrize("suffix", [".pcd", ".off", ".stl", ".glb", ".gltf"])
def test_refuses_what_open3d_cannot_read(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("open3d")
    (tmp_path / f"bad{suffix}").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=rf"bad\{suffix}: Open3D finds no"):
        read_scene(tmp_path / f"bad{suffix}")


def test_names_the_extra_where_open3d_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_open3d(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "open3d":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    (tmp_path / "a.pcd").write_bytes(b"")
    monkeypatch.setattr(builtins, "__import__", without_open3d)
    with pytest.raises(ImportError, match=r"a\.pcd.*geoguide3d\[open3d\]"):
        read_scene(tmp_path / "a.pcd")


def test_a_folder_stands_for_its_one_point_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one point file .*, found none"):
        read_scene(tmp_path)
    scene = Scene(torch.from_numpy(POINTS))
    write_ply(tmp_path / "a.PLY", scene)
    (tmp_path / "notes.txt").write_text("not a scene")
    (tmp_path / "color").mkdir()
    assert read_scene(tmp_path).name == "a"
    write_ply(tmp_path / "b.ply", scene)
    with pytest.raises(ValueError, match=r"found a\.PLY, b\.ply; name the file itself"):
        read_scene(tmp_path)


def test_names_what_it_can_read(tmp_path: Path) -> None:
    (tmp_path / "a.las").write_bytes(b"LASF")
    with pytest.raises(ValueError, match=r"a\.las: cannot read \.las; use one of \.ply, \.npz, \.obj, \.pcd"):
        read_scene(tmp_path / "a.las")
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such file or folder"):
        read_scene(tmp_path / "nowhere")


def test_reads_the_lounge_folder(shared_data: Path) -> None:
    scene = read_scene(shared_data / "lounge")
    assert (scene.name, len(scene)) == ("lounge", 162_408)
