from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plyfile
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoguide3d.scenes.ply import read_ply, write_ply
from geoguide3d.scenes.scene import Scene

PLY_TYPES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint"}
PLY_TYPES |= {"f4": "float", "f8": "double"}
FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="f4")
Columns = Mapping[str, NDArray[np.generic]]


def xyz(points: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    return dict(zip("xyz", np.asarray(points).T, strict=True))


def store(
    path: Path,
    columns: Columns,
    faces: Sequence[Sequence[int]] | None = None,
    form: str = "binary_little_endian",
    face_name: str = "vertex_indices",
) -> Path:
    """Writes a PLY without plyfile, so that reader and writer cannot share a mistake."""
    count = len(next(iter(columns.values())))
    header = ["ply", f"format {form} 1.0", "comment x y z red", f"element vertex {count}"]
    header += [f"property {PLY_TYPES[column.dtype.str[1:]]} {name}" for name, column in columns.items()]
    if faces is not None:
        header += [f"element face {len(faces)}", f"property list uchar int {face_name}"]
    body = "\n".join([*header, "end_header", ""]).encode()
    order = ">" if form == "binary_big_endian" else "<"
    for row in zip(*columns.values(), strict=True):
        if form == "ascii":
            body += " ".join(str(value) for value in row).encode() + b"\n"
        else:
            body += b"".join(np.array(value, value.dtype.newbyteorder(order)).tobytes() for value in row)
    for face in faces or ():
        if form == "ascii":
            body += " ".join(map(str, (len(face), *face))).encode() + b"\n"
        else:
            body += struct.pack(f"{order}B{len(face)}i", len(face), *face)
    path.write_bytes(body)
    return path


@st.composite
def vertex_columns(draw: st.DrawFn) -> dict[str, NDArray[np.generic]]:
    """Draws named columns in any order, with properties that nobody asked for between them."""
    count = draw(st.integers(1, 6))
    floats = st.sampled_from(["f4", "f8"])

    def column(dtype: str, low: int, high: int) -> NDArray[np.generic]:
        values = np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), dtype)
        return values / np.dtype(dtype).type(8) if dtype[0] == "f" else values

    columns = {name: column(draw(floats), -4000, 4000) for name in "xyz"}
    if draw(st.booleans()):
        columns |= {name: column("u1", 0, 255) for name in ("red", "green", "blue", "alpha")}
    if draw(st.booleans()):
        columns["label"] = column(draw(st.sampled_from(["i1", "i2", "i4"])), -3, 90)
    if draw(st.booleans()):
        columns["objectId"] = column(draw(st.sampled_from(["i4", "i2"])), -2, 300)
    columns |= {f"other{i}": column(draw(floats), 0, 9) for i in range(draw(st.integers(0, 2)))}
    names = draw(st.permutations(list(columns)))
    return {name: columns[name] for name in names}


@settings(max_examples=60, deadline=None)
@given(columns=vertex_columns(), form=st.sampled_from(FORMATS))
def test_reads_properties_by_name(tmp_path_factory: pytest.TempPathFactory, columns: Columns, form: str) -> None:
    scene = read_ply(store(tmp_path_factory.mktemp("ply") / "a.ply", columns, form=form))
    expected = np.stack([columns[name] for name in "xyz"], axis=1)
    np.testing.assert_array_equal(scene.points.numpy(), expected.astype("f4"))
    assert (scene.colors is None) == ("red" not in columns)
    if scene.colors is not None:
        rgb = np.stack([columns[name] for name in ("red", "green", "blue")], axis=1)
        np.testing.assert_allclose(scene.colors.numpy(), rgb / 255, rtol=1e-6)
    for ids, name, missing in ((scene.labels, "label", 255), (scene.instances, "objectId", -1)):
        assert (ids is None) == (name not in columns)
        if ids is not None:
            values = columns[name].astype("i8")
            np.testing.assert_array_equal(ids.numpy(), np.where(values < 0, missing, values))


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, dropped = draw(st.integers(1, 7)), draw(st.integers(0, 3))
    points = torch.from_numpy(rng.normal(size=(count, 3)).astype("f4"))
    kept = np.zeros(count + dropped, dtype=bool)
    kept[rng.permutation(count + dropped)[:count]] = True
    normals = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(count, 3))), dim=1).float()
    return Scene(
        points=points,
        origin=torch.tensor([4e5, 5e6, 300.0], dtype=torch.float64) if draw(st.booleans()) else None,
        colors=torch.from_numpy(rng.integers(0, 256, (count, 3))).float() / 255 if draw(st.booleans()) else None,
        normals=normals if draw(st.booleans()) else None,
        faces=torch.from_numpy(rng.integers(0, count, (4, 3))) if draw(st.booleans()) else None,
        labels=torch.from_numpy(rng.integers(0, 256, count)) if draw(st.booleans()) else None,
        instances=torch.from_numpy(rng.integers(-1, 9, count)) if draw(st.booleans()) else None,
        kept=torch.from_numpy(kept) if dropped else None,
    )


@pytest.mark.filterwarnings("ignore:.*dropped")
@settings(max_examples=60, deadline=None)
@given(scene=scenes())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> None:
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    write_ply(path, scene)
    back = read_ply(path)
    # Doubles hold points_world; the new origin may differ by metres, which costs at most a float32 step.
    torch.testing.assert_close(back.points_world, scene.points_world, rtol=0, atol=1e-6)
    for name in ("colors", "faces", "labels", "instances", "kept"):
        before, after = getattr(scene, name), getattr(back, name)
        assert (before is None) == (after is None), name
        assert before is None or torch.equal(before, after), name
    assert (scene.normals is None) == (back.normals is None)
    if scene.normals is not None:
        torch.testing.assert_close(back.normals, scene.normals)


COLORS = {
    "uchar": ({"red": "u1", "green": "u1", "blue": "u1"}, [0, 51, 255], [0.0, 0.2, 1.0]),
    "ushort": ({"red": "u2", "green": "u2", "blue": "u2"}, [0, 13107, 65535], [0.0, 0.2, 1.0]),
    "ushort of 8 bits": ({"red": "u2", "green": "u2", "blue": "u2"}, [0, 51, 255], [0.0, 0.2, 1.0]),
    "float to 1": ({"red": "f4", "green": "f4", "blue": "f4"}, [0, 0.2, 1], [0.0, 0.2, 1.0]),
    "float overshoots": ({"red": "f4", "green": "f4", "blue": "f4"}, [-0.1, 0.2, 1.3], [0.0, 0.2, 1.0]),
    "double to 255": ({"red": "f8", "green": "f8", "blue": "f8"}, [0, 51, 255], [0.0, 0.2, 1.0]),
    "diffuse": ({"diffuse_red": "u1", "diffuse_green": "u1", "diffuse_blue": "u1"}, [0, 51, 255], [0.0, 0.2, 1.0]),
    "upper case": ({"Red": "u1", "Green": "u1", "Blue": "u1"}, [0, 51, 255], [0.0, 0.2, 1.0]),
    "splat": ({"f_dc_0": "f4", "f_dc_1": "f4", "f_dc_2": "f4"}, [0, 1, -9], [0.5, 0.78209479, 0.0]),
}


@pytest.mark.parametrize("case", COLORS)
def test_colors_in_every_dress(tmp_path: Path, case: str) -> None:
    names, stored, expected = COLORS[case]
    columns = xyz(TETRAHEDRON) | {
        name: np.full(4, value, dtype) for (name, dtype), value in zip(names.items(), stored, strict=True)
    }
    colors = read_ply(store(tmp_path / "a.ply", columns)).colors
    assert colors is not None
    torch.testing.assert_close(colors, torch.tensor([expected] * 4))


def test_intensity_is_grey_only_without_colors(tmp_path: Path) -> None:
    grey = xyz(TETRAHEDRON) | {"intensity": np.array([0, 51, 102, 255], dtype="u1")}
    colors = read_ply(store(tmp_path / "a.ply", grey)).colors
    torch.testing.assert_close(colors, torch.tensor([[0.0], [0.2], [0.4], [1.0]]).expand(4, 3))
    both = grey | {name: np.full(4, 255, "u1") for name in ("red", "green", "blue")}
    torch.testing.assert_close(read_ply(store(tmp_path / "b.ply", both)).colors, torch.ones(4, 3))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("face_name", ["vertex_indices", "vertex_index"])
def test_polygons_become_fans(tmp_path: Path, form: str, face_name: str) -> None:
    faces = [[0, 1, 2], [0, 1, 2, 3], [3, 1], [1, 3, 2]]
    scene = read_ply(store(tmp_path / "a.ply", xyz(TETRAHEDRON), faces, form, face_name))
    assert scene.faces is not None
    assert sorted(scene.faces.tolist()) == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [1, 3, 2]]


def test_a_mesh_of_quads_keeps_the_order_of_its_faces(tmp_path: Path) -> None:
    scene = read_ply(store(tmp_path / "a.ply", xyz(TETRAHEDRON), [[0, 1, 2, 3], [3, 2, 1, 0]]))
    assert scene.faces is not None
    assert scene.faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 1], [3, 1, 0]]


def test_normals_get_unit_length_and_columns_of_zeros_are_none(tmp_path: Path) -> None:
    normals = np.array([[2, 0, 0], [0, 0, 0], [np.nan, 0, 0], [0, -0.5, 0]], dtype="f4")
    columns = xyz(TETRAHEDRON) | dict(zip(("nx", "ny", "nz"), normals.T, strict=True))
    read = read_ply(store(tmp_path / "a.ply", columns)).normals
    assert read is not None
    assert read.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, -1, 0]]
    zeros = xyz(TETRAHEDRON) | {name: np.zeros(4, "f4") for name in ("nx", "ny", "nz")}
    assert read_ply(store(tmp_path / "b.ply", zeros)).normals is None


def test_drops_points_that_are_not_finite_and_keeps_the_input_length(tmp_path: Path) -> None:
    points = np.concatenate([TETRAHEDRON, TETRAHEDRON + 1]).astype("f4")
    points[1, 2], points[6, 0] = np.nan, -np.inf
    columns = xyz(points) | {"label": np.arange(8, dtype="i4")}
    path = store(tmp_path / "room.ply", columns, [[0, 2, 3], [0, 1, 2], [4, 5, 7], [5, 6, 7]])
    with pytest.warns(UserWarning, match=r"room\.ply: dropped 2 of 8 points"):
        scene = read_ply(path)
    assert scene.labels is not None
    assert scene.faces is not None
    assert scene.labels.tolist() == [0, 2, 3, 4, 5, 7]
    assert scene.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    write_ply(tmp_path / "out.ply", scene, extra={"score": torch.arange(6.0), "seen": torch.ones(6, dtype=torch.bool)})
    written = plyfile.PlyData.read(str(tmp_path / "out.ply"))
    np.testing.assert_array_equal(written["vertex"]["score"], np.array([0, np.nan, 1, 2, 3, 4, np.nan, 5], "f4"))
    np.testing.assert_array_equal(written["vertex"]["seen"], [1, 0, 1, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(written["vertex"]["label"], [0, 255, 2, 3, 4, 5, 255, 7])
    np.testing.assert_array_equal(written["vertex"]["x"][[0, 2, 5]], points[[0, 2, 5], 0])
    np.testing.assert_array_equal(np.stack(written["face"]["vertex_indices"]), [[0, 2, 3], [4, 5, 7]])


def test_large_coordinates_keep_millimetres(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.array([691_234.5, 5_334_567.25, 512.0]) + rng.uniform(-5, 5, (200, 3))
    points[0] += 80_000  # one stray point must not cost the others their precision
    scene = read_ply(store(tmp_path / "utm.ply", xyz(points)))
    assert scene.origin_world.tolist() == scene.origin_world.round().tolist()
    np.testing.assert_allclose(scene.points_world[1:].numpy(), points[1:], rtol=0, atol=1e-6)
    write_ply(tmp_path / "out.ply", scene)
    np.testing.assert_allclose(plyfile.PlyData.read(str(tmp_path / "out.ply"))["vertex"]["y"][1:], points[1:, 1], 1e-12)


def _broken(tmp_path: Path, what: str) -> Path:
    """Writes the file that a test of bad input is about."""
    path = tmp_path / "bad.ply"
    whole = store(path, xyz(TETRAHEDRON), [[0, 1, 2]]).read_bytes()
    if what == "truncated":
        path.write_bytes(whole[:-20])
    elif what == "truncated header":
        path.write_bytes(whole[:60])
    elif what == "truncated ascii":
        path.write_bytes(store(path, xyz(TETRAHEDRON), form="ascii").read_bytes()[:-12])
    elif what == "no PLY":
        path.write_bytes(b"\x89PNG" + bytes(200))
    elif what == "empty file":
        path.write_bytes(b"")
    elif what == "no vertex element":
        path.write_bytes(whole.replace(b"element vertex", b"element corner"))
    elif what == "absurd count":
        path.write_bytes(whole.replace(b"vertex 4", b"vertex 400000000000000"))
    elif what == "no z":
        store(path, {name: column for name, column in xyz(TETRAHEDRON).items() if name != "z"})
    elif what == "zero points":
        store(path, xyz(TETRAHEDRON[:0]))
    elif what == "all NaN":
        store(path, xyz(np.full((3, 3), np.nan, "f4")))
    elif what == "face out of range":
        store(path, xyz(TETRAHEDRON), [[0, 1, 4]])
    elif what == "negative face":
        store(path, xyz(TETRAHEDRON), [[0, 1, -1]])
    elif what == "face without indices":
        store(path, xyz(TETRAHEDRON), [[0, 1, 2]], face_name="corners")
    elif what == "face of scalars":
        path.write_bytes(whole.replace(b"list uchar int vertex_indices", b"int vertex_indices"))
    elif what == "fractional label":
        store(path, xyz(TETRAHEDRON) | {"label": np.full(4, 0.5, "f4")})
    return path


BROKEN = {
    "truncated": "not a whole PLY.*early end-of-file",
    "truncated header": "not a whole PLY",
    "truncated ascii": "not a whole PLY",
    "no PLY": "not a whole PLY",
    "empty file": "not a whole PLY",
    "no vertex element": "no element 'vertex'.*corner",
    "absurd count": "not a whole PLY",
    "no z": r"properties x, y and z, found only \['x', 'y'\]",
    "zero points": "zero points",
    "all NaN": "all 3 points have inf or NaN",
    "face out of range": "a face names vertex 4, but there are 4",
    "negative face": "a face names vertex -1",
    "face without indices": r"vertex_indices or vertex_index.*\['corners'\]",
    "face of scalars": r"vertex_indices or vertex_index, found only lists \[\]",
    "fractional label": "labels must be whole numbers, got 0.5",
}


@pytest.mark.parametrize("what", BROKEN)
def test_refuses_bad_input_and_names_the_file(tmp_path: Path, what: str) -> None:
    with pytest.raises(ValueError, match=rf"bad\.ply: .*{BROKEN[what]}"):
        read_ply(_broken(tmp_path, what))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ply: no such PLY file"):
        read_ply(tmp_path / "nowhere.ply")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"score": torch.zeros(3)}, r"property score must be \(4,\), got \(3,\)"),
        ({"x": torch.zeros(4)}, "cannot add property 'x'"),
        ({"two words": torch.zeros(4)}, "cannot add property 'two words'"),
        ({"größe": torch.zeros(4)}, "cannot add property 'größe'"),
        ({"id": torch.full((4,), 2**31)}, "32 bits"),
    ],
)
def test_a_refused_write_leaves_the_old_file(tmp_path: Path, extra: dict[str, torch.Tensor], message: str) -> None:
    path = tmp_path / "out.ply"
    scene = Scene(torch.from_numpy(TETRAHEDRON))
    write_ply(path, scene)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        write_ply(path, scene, extra=extra)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out.ply"]


def test_a_write_that_dies_halfway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ply"
    scene = Scene(torch.from_numpy(TETRAHEDRON))
    write_ply(path, scene)
    before = path.read_bytes()

    def disk_full(self: plyfile.PlyData, stream: str) -> None:
        Path(stream).write_bytes(b"ply\nformat")
        raise OSError("No space left on device")

    monkeypatch.setattr(plyfile.PlyData, "write", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_ply(path, scene)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out.ply"]


def test_colors_given_replace_the_scenes(tmp_path: Path) -> None:
    scene = Scene(torch.from_numpy(TETRAHEDRON), colors=torch.zeros(4, 3))
    given_colors = torch.tensor([[0, 127, 255]], dtype=torch.uint8).expand(4, 3)
    for colors in (given_colors, given_colors.float() / 255):
        write_ply(tmp_path / "a.ply", scene, colors=colors)
        torch.testing.assert_close(read_ply(tmp_path / "a.ply").colors, given_colors.float() / 255)


def test_plyfile_is_imported_in_one_module_alone() -> None:
    package = Path(__file__).parents[2] / "geoguide3d"
    importers = [file.name for file in package.rglob("*.py") if "import plyfile" in file.read_text("utf-8")]
    assert importers == ["ply.py"]


def test_reads_the_lounge(shared_data: Path) -> None:
    scene = read_ply(shared_data / "lounge" / "lounge.ply")
    assert scene.faces is not None
    assert scene.normals is not None
    assert scene.colors is not None
    assert (len(scene), len(scene.faces)) == (162_408, 304_026)
    assert scene.kept is None
    assert scene.origin_world.tolist() == [0, 0, 0]
    first = np.frombuffer((shared_data / "lounge" / "lounge.ply").read_bytes().split(b"end_header\n", 1)[1][:27], "u1")
    np.testing.assert_array_equal(scene.points[0].numpy(), first[:12].view("<f4"))
    np.testing.assert_allclose(scene.colors[0].numpy() * 255, first[24:27], atol=1e-4)
    # The mesh and its normals come from one TSDF, so faces and vertex normals agree.
    a, b, c = scene.points[scene.faces].unbind(1)
    facing = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    assert float((facing * scene.normals[scene.faces[:, 0]]).sum(1).abs().median()) > 0.95


def test_reads_the_tabletop_labels(shared_data: Path) -> None:
    scene = read_ply(shared_data / "tabletop" / "learn0.ply")
    assert scene.labels is not None
    assert len(scene) == 182_292
    assert 1 in scene.labels.unique().tolist()
    assert scene.faces is None
