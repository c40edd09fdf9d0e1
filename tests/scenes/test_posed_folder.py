from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.ply import read_ply
from geoguide3d.scenes.posed_folder import open_posed_folder, write_posed_folder
from geoguide3d.scenes.view import View

WIDTH, HEIGHT = 32, 24
K = torch.tensor([[30.0, 0.0, 15.5], [0.0, 30.0, 11.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def gradient(width: int, height: int) -> Tensor:
    """A picture that JPEG keeps well, (H, W, 3) uint8."""
    v, u = torch.meshgrid(torch.linspace(0, 200, height), torch.linspace(0, 250, width), indexing="ij")
    return torch.stack([u, v, (u + v) / 2], dim=-1).to(torch.uint8)


def make_view(name: str, x: float = 0.0, intrinsics: Tensor = K, depth: bool = True) -> View:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -x, 0.1], [x, 0, 0], [-0.1, 0, 0]], dtype=torch.float64))
    pose[0, 3] = x
    metres = torch.linspace(0.5, 3.0, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    camera = Camera(intrinsics, pose, WIDTH, HEIGHT)
    return View(name, camera, lambda: gradient(WIDTH, HEIGHT), (lambda: metres) if depth else None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three frames as ScanNet names them, without leading zeros."""
    write_posed_folder(tmp_path / "capture", [make_view(str(i), i / 10) for i in (2, 10, 100)])
    return tmp_path / "capture"


def test_frames_come_in_natural_order_with_their_poses_inverted(folder: Path) -> None:
    views = open_posed_folder(folder)
    assert [view.name for view in views] == ["2", "10", "100"]
    on_disk = torch.from_numpy(np.loadtxt(folder / "pose" / "10.txt"))
    torch.testing.assert_close(views[1].camera.camera_from_world @ on_disk, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(views[1].camera.center_world, on_disk[:3, 3])
    assert (views[1].camera.width, views[1].camera.height) == (WIDTH, HEIGHT)
    assert views.skipped == ()


@pytest.mark.parametrize("per_frame", [False, True])
def test_what_is_written_is_read(tmp_path: Path, per_frame: bool) -> None:
    zoomed = K * torch.tensor([[1.5], [1.5], [1.0]], dtype=torch.float64)
    views = [make_view("a", 0.3), make_view("b", -0.2, zoomed if per_frame else K)]
    write_posed_folder(tmp_path / "c", iter(views), depth_scale=4000)
    assert (tmp_path / "c" / "intrinsic.txt").exists() != per_frame
    back = open_posed_folder(tmp_path / "c", depth_scale=4000)
    for before, after in zip(views, back, strict=True):
        assert after.read_depth is not None
        assert before.read_depth is not None
        assert torch.equal(after.camera.intrinsics, before.camera.intrinsics)
        torch.testing.assert_close(after.camera.camera_from_world, before.camera.camera_from_world, rtol=0, atol=1e-14)
        torch.testing.assert_close(after.read_depth(), before.read_depth(), rtol=0, atol=0.5 / 4000 + 1e-6)
        assert int((after.read_color().int() - before.read_color().int()).abs().max()) <= 12  # JPEG


def test_views_are_a_sequence_that_pickles(folder: Path) -> None:
    views = open_posed_folder(folder)
    assert [view.name for view in views[1:]] == ["10", "100"]
    assert views[-1].name == "100"
    with pytest.raises(IndexError):
        views[3]
    view = pickle.loads(pickle.dumps(views[0]))
    assert torch.equal(view.read_color(), views[0].read_color())
    assert [view.name for view in open_posed_folder(folder, stride=2)] == ["2", "100"]


def test_pixels_are_read_only_when_asked_for(folder: Path) -> None:
    picture = folder / "color" / "10.jpg"
    picture.write_bytes(picture.read_bytes()[:-40])  # the header stays whole
    view = open_posed_folder(folder)[1]
    with pytest.raises(ValueError, match=r"10\.jpg: not a readable image .*; copy or export it again"):
        view.read_color()


def test_a_capture_without_depth(tmp_path: Path) -> None:
    write_posed_folder(tmp_path / "c", [make_view("a", depth=False)])
    assert open_posed_folder(tmp_path / "c")[0].read_depth is None


@pytest.mark.parametrize("name", ["intrinsics.txt", "intrinsic/intrinsic_color.txt"])
def test_intrinsics_under_every_name_and_as_4x4(folder: Path, name: str) -> None:
    (folder / "intrinsic.txt").unlink()
    (folder / "intrinsic").mkdir()
    wide = torch.eye(4, dtype=torch.float64)
    wide[:3, :3] = K
    np.savetxt(folder / name, wide.numpy())
    assert torch.equal(open_posed_folder(folder)[0].camera.intrinsics, K)


@pytest.mark.parametrize("lost", ["-inf", "nan"])
def test_frames_without_a_finite_pose_are_skipped_and_counted(folder: Path, lost: str) -> None:
    (folder / "pose" / "10.txt").write_text(f"{lost} {lost} {lost} {lost}\n" * 4)
    with pytest.warns(UserWarning, match=r"skipped 1 of 3 frames whose pose holds inf or NaN: 10") as caught:
        views = open_posed_folder(folder)
    assert len(caught) == 1
    assert views.skipped == ("10",)
    assert [view.name for view in views] == ["2", "100"]


def test_depth_of_another_camera_is_resampled_into_the_colour_image(tmp_path: Path) -> None:
    """A slanted wall z = 2 + x / 2, seen by a square depth camera beside a 4:3 colour camera."""
    folder = tmp_path / "c"
    write_posed_folder(folder, [make_view("0", depth=False)])
    depth_k = np.array([[40.0, 0, 18.0], [0, 38.0, 21.0], [0, 0, 1]])

    def wall(u: Tensor, f: float, c: float) -> Tensor:
        return 2 / (1 - 0.5 * (u - c) / f)

    stored = wall(torch.arange(40.0), 40.0, 18.0).expand(40, 40)
    (folder / "depth").mkdir()
    Image.fromarray((stored * 1000).round().numpy().astype(np.uint16)).save(folder / "depth" / "0.png")
    with pytest.raises(
        ValueError, match=r"0\.png: 40×40 has another aspect than .*0\.jpg, 32×24.*intrinsic_depth\.txt"
    ):
        open_posed_folder(folder)
    np.savetxt(folder / "intrinsic_depth.txt", depth_k)
    view = open_posed_folder(folder)[0]
    assert view.read_depth is not None
    depth = view.read_depth()
    camera = view.camera.resized(40, 40)
    fx, cx = float(camera.intrinsics[0, 0]), float(camera.intrinsics[0, 2])
    fy, cy = float(camera.intrinsics[1, 1]), float(camera.intrinsics[1, 2])
    u, v = torch.arange(40.0), torch.arange(40.0)
    column, row = (u - cx) / fx * 40 + 18, (v - cy) / fy * 38 + 21  # where the depth camera sees the same ray
    seen = ((column > -0.49) & (column < 39.49))[None] & ((row > -0.49) & (row < 39.49))[:, None]
    unseen = ((column < -0.51) | (column > 39.51))[None] | ((row < -0.51) | (row > 39.51))[:, None]
    assert bool(unseen.any())
    assert bool((depth[unseen] == 0).all())
    expected = wall(u, fx, cx).expand(40, 40)
    half_pixel = 0.5 / 40 * 0.5 * expected**2 / 2  # |dz/du| · half a pixel
    assert bool(((depth - expected).abs() <= half_pixel * 1.1 + 1e-3)[seen].all())


def test_depth_intrinsics_of_the_same_camera_change_nothing(folder: Path) -> None:
    before = [view.read_depth() for view in open_posed_folder(folder) if view.read_depth is not None]
    shutil.copy(folder / "intrinsic.txt", folder / "intrinsic_depth.txt")
    after = [view.read_depth() for view in open_posed_folder(folder) if view.read_depth is not None]
    assert len(after) == 3
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_intrinsics_of_another_image_size_are_doubted_aloud(folder: Path) -> None:
    np.savetxt(folder / "intrinsic.txt", (K * torch.tensor([[2.0], [2.0], [1.0]], dtype=torch.float64)).numpy())
    with pytest.warns(UserWarning, match="principal point lies at 97% of the width and 96% of the height"):
        open_posed_folder(folder)


def scaled_pose(folder: Path) -> None:
    np.savetxt(folder / "pose" / "2.txt", np.diag([2.0, 2, 2, 1]))


def mirrored_pose(folder: Path) -> None:
    np.savetxt(folder / "pose" / "2.txt", np.diag([1.0, 1, -1, 1]))


def all_poses_lost(folder: Path) -> None:
    for file in (folder / "pose").iterdir():
        np.savetxt(file, np.full((4, 4), -np.inf))


def no_frames(folder: Path) -> None:
    for file in [*folder.rglob("*.jpg"), *folder.rglob("*.png"), *(folder / "pose").iterdir()]:
        file.unlink()


def text_in_place_of_depth(folder: Path) -> None:
    (folder / "depth" / "2.png").write_text("no depth")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no pose file": (lambda f: (f / "pose" / "10.txt").unlink(), r"1 files are missing, pose/10; export them again"),
    "no depth file": (lambda f: (f / "depth" / "2.png").unlink(), r"1 files are missing, depth/2"),
    "no colour file": (lambda f: (f / "color" / "2.jpg").unlink(), r"1 files are missing, color/2"),
    "no pose folder": (lambda f: shutil.rmtree(f / "pose"), r"pose: no such folder"),
    "one frame twice": (lambda f: shutil.copy(f / "color" / "2.jpg", f / "color" / "2.png"), r"2\.jpg and 2\.png"),
    "no frames": (no_frames, "no frames in color/"),
    "pose 3×4": (
        lambda f: np.savetxt(f / "pose" / "2.txt", np.eye(4)[:3]),
        r"2\.txt: a pose must be 4×4, got \(3, 4\)",
    ),
    "pose of words": (lambda f: (f / "pose" / "2.txt").write_text("a b"), r"2\.txt: not a matrix of numbers"),
    "ragged pose": (
        lambda f: (f / "pose" / "2.txt").write_text("1 0\n1\n"),
        r"2\.txt: not a matrix, its rows have \[2, 1\]",
    ),
    "empty pose": (lambda f: (f / "pose" / "2.txt").write_text(""), r"2\.txt: not a matrix"),
    "scaled pose": (scaled_pose, r"2\.txt: not a rigid pose"),
    "mirrored pose": (mirrored_pose, r"2\.txt: not a rigid pose"),
    "all poses lost": (all_poses_lost, "no frame has a finite pose"),
    "no intrinsics": (lambda f: (f / "intrinsic.txt").unlink(), r"no intrinsics; add intrinsic\.txt"),
    "2×2 intrinsics": (
        lambda f: np.savetxt(f / "intrinsic.txt", np.eye(2)),
        r"intrinsic\.txt: intrinsics must be 3×3 or 4×4",
    ),
    "zero focal length": (
        lambda f: np.savetxt(f / "intrinsic.txt", np.diag([0.0, 1, 1])),
        r"intrinsic\.txt: expected rows",
    ),
    "NaN intrinsics": (lambda f: np.savetxt(f / "intrinsic.txt", K.numpy() * np.nan), r"intrinsic\.txt: expected rows"),
    "text as depth": (text_in_place_of_depth, r"2\.png: not a readable image"),
}


@pytest.mark.filterwarnings("ignore:.*skipped 3 of 3")
@pytest.mark.parametrize("what", DAMAGE)
def test_refuses_a_damaged_folder_and_names_the_file(folder: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    damage(folder)
    with pytest.raises(ValueError, match=message):
        open_posed_folder(folder)


def test_one_missing_matrix_among_intrinsics_per_frame_is_named(folder: Path) -> None:
    (folder / "intrinsic.txt").unlink()
    (folder / "intrinsic").mkdir()
    for name in ("2", "100"):
        np.savetxt(folder / "intrinsic" / f"{name}.txt", K.numpy())
    with pytest.raises(ValueError, match=r"1 files are missing, intrinsic/10\.txt"):
        open_posed_folder(folder)


def test_refuses_arguments_that_mean_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_posed_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"stride >= 1, got 1000\.0 and 0"):
        open_posed_folder(folder, stride=0)
    with pytest.raises(ValueError, match="depth_scale must be > 0"):
        open_posed_folder(folder, depth_scale=0)


def wrong_size() -> View:
    view = make_view("a")
    return View("a", view.camera, lambda: gradient(WIDTH, HEIGHT + 1), view.read_depth)


UNWRITABLE: dict[str, tuple[Callable[[], list[View]], str]] = {
    "no views": (list, "no views to write"),
    "same name": (lambda: [make_view("a"), make_view("a")], "cannot write a frame named 'a'"),
    "path as name": (lambda: [make_view("../a")], r"cannot write a frame named '\.\./a'"),
    "depth in some": (lambda: [make_view("a"), make_view("b", depth=False)], "only 1 of 2 views have depth"),
    "wrong size": (lambda: [wrong_size()], r"color must be \(24, 32, 3\) uint8, got \(25, 32, 3\)"),
}


@pytest.mark.parametrize("what", UNWRITABLE)
def test_a_refused_write_leaves_the_old_folder(folder: Path, what: str) -> None:
    views, message = UNWRITABLE[what]
    before = sorted(file.relative_to(folder) for file in folder.rglob("*"))
    with pytest.raises(ValueError, match=message):
        write_posed_folder(folder, views())
    assert sorted(file.relative_to(folder) for file in folder.rglob("*")) == before
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def lift(view: View, step: int) -> Tensor:
    """Unprojects every step-th depth pixel into the world, (n, 3) float64."""
    assert view.read_depth is not None
    depth = view.read_depth().double()[::step, ::step]
    v, u = torch.meshgrid(torch.arange(depth.shape[0]) * step, torch.arange(depth.shape[1]) * step, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], dim=-1).double() @ torch.linalg.inv(view.camera.intrinsics).T
    points = (rays * depth[..., None])[depth > 0]
    world_from_camera = torch.linalg.inv(view.camera.camera_from_world)
    return points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3]


def test_depth_of_the_lounge_lies_on_its_mesh(shared_data: Path) -> None:
    views = open_posed_folder(shared_data / "lounge")
    assert len(views) == 75
    assert views.skipped == ()
    tree = KDTree(read_ply(shared_data / "lounge" / "lounge.ply").points.numpy())
    for view in (views[0], views[40]):
        distance, _ = tree.query(lift(view, 12).numpy())
        assert float(np.median(distance)) < 0.03


def test_depth_of_the_living_room_agrees_between_views(shared_data: Path) -> None:
    views = open_posed_folder(shared_data / "livingroom")
    assert len(views) == 22
    tree = KDTree(lift(views[0], 2).numpy())
    distance, _ = tree.query(lift(views[1], 8).numpy())
    assert float(np.median(distance)) < 0.006
