from __future__ import annotations

from pathlib import Path

import torch

from geoguide3d.scenes.matrix_files import read_intrinsics, read_pose, write_matrix

# What is refused is tested where it happens: tests/scenes/test_posed_folder.py.


def test_a_pose_returns_bit_for_bit(tmp_path: Path) -> None:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.matrix_exp(torch.tensor([[0, -0.3, 0.1], [0.3, 0, 0.7], [-0.1, -0.7, 0]]).double())
    pose[:3, 3] = torch.tensor([5e6 + 1 / 3, -1e-9, 1 / 7], dtype=torch.float64)
    write_matrix(tmp_path / "pose" / "0.txt", pose)
    back = read_pose(tmp_path / "pose" / "0.txt")
    assert back is not None
    assert torch.equal(back, pose)


def test_poses_of_few_decimals_are_rigid_enough(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0.305 -0.368 0.878 1\n-0.020 -0.924 -0.381 2\n0.952 0.098 -0.289 3\n0 0 0 1\n")
    pose = read_pose(tmp_path / "a.txt")
    assert pose is not None
    assert pose[:3, 3].tolist() == [1, 2, 3]


def test_a_lost_pose_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-inf -inf -inf -inf\n" * 4)
    assert read_pose(tmp_path / "a.txt") is None


def test_intrinsics_keep_skew_and_lose_the_fourth_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "\ufeff1169.6 0.5 646.3 0\r\n0 1167.1 489.9 0\r\n0 0 1 0\r\n0 0 0 1\r\n\r\n", "utf-8"
    )
    assert read_intrinsics(tmp_path / "a.txt").tolist() == [[1169.6, 0.5, 646.3], [0, 1167.1, 489.9], [0, 0, 1]]
