from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.scenes.named_scenes import SceneFiles, ScenePatterns, find_files, read_named_scenes

SCANNET = ScenePatterns(
    points=("scannet_3d/train/{scene}_vh_clean_2.pth", "scannet_3d/val/{scene}_vh_clean_2.pth"),
    superpoints=("scannet_3d/superpoint/{scene}_vh_clean_2.pth",),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, name in (("train", "scene0000_00"), ("train", "scene0000_01"), ("val", "scene0011_00")):
        for folder in (split, "superpoint"):
            file = tmp_path / "scannet_3d" / folder / f"{name}_vh_clean_2.pth"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return tmp_path


def listed(root: Path, *lines: str) -> Path:
    (root / "scannet.txt").write_text("".join(f"{line}\n" for line in lines))
    return root / "scannet.txt"


@pytest.mark.parametrize("line", ["scene0000_00", "scene0000_00_vh_clean_2.pth", "scene0000_00.pth # the first"])
def test_names_lead_to_files(root: Path, line: str) -> None:
    scenes = read_named_scenes(listed(root, "# comment", line, "", "scene0011_00"), root, SCANNET)
    folder = root / "scannet_3d"
    assert scenes == [
        SceneFiles(name, folder / split / f"{name}_vh_clean_2.pth", folder / "superpoint" / f"{name}_vh_clean_2.pth")
        for name, split in (("scene0000_00", "train"), ("scene0011_00", "val"))
    ]


def test_a_missing_file_names_all_that_was_tried(root: Path) -> None:
    with pytest.raises(ValueError, match=r"scannet\.txt:2: scene 'scene0000_02' has no point file") as error:
        read_named_scenes(listed(root, "scene0000_00", "scene0000_02"), root, SCANNET)
    for split in ("train", "val"):
        assert str(root / "scannet_3d" / split / "scene0000_02_vh_clean_2.pth") in str(error.value)
    (root / "scannet_3d" / "superpoint" / "scene0000_00_vh_clean_2.pth").unlink()
    with pytest.raises(ValueError, match=r"scannet\.txt:1: scene 'scene0000_00' has no superpoints"):
        read_named_scenes(listed(root, "scene0000_00"), root, SCANNET)


def test_of_several_patterns_the_first_that_fits_counts(root: Path) -> None:
    (root / "scannet_3d" / "val" / "scene0000_00_vh_clean_2.pth").touch()
    for patterns, split in ((SCANNET.points, "train"), (SCANNET.points[::-1], "val")):
        (files,) = read_named_scenes(listed(root, "scene0000_00"), root, ScenePatterns(points=patterns))
        assert files.points.parent.name == split


def test_one_scene_has_one_point_file(root: Path) -> None:
    wide = ScenePatterns(points=("scannet_3d/*/{scene}_vh_clean_2.pth",))
    with pytest.raises(ValueError, match=r"has 2 files for its point file: .*superpoint.*narrower"):
        read_named_scenes(listed(root, "scene0000_00"), root, wide)


def test_a_scene_is_listed_once(root: Path) -> None:
    with pytest.raises(ValueError, match=r"scannet\.txt:2: 'scene0000_00' is already on line 1"):
        read_named_scenes(listed(root, "scene0000_00", "scene0000_00_vh_clean_2.pth"), root, SCANNET)


@pytest.mark.parametrize("patterns", [{"points": ("a/scene.pth",)}, {"points": ("{scene}",), "masks": ("m/*.pt",)}])
def test_patterns_need_a_place_for_the_name(patterns: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=r"has no \{scene\}"):
        ScenePatterns(**patterns)


def test_names_are_no_wildcards(tmp_path: Path) -> None:
    for name in ("region1_0.pt", "region10_0.pt", "region[1]_0.pt", "region1_1.pt"):
        (tmp_path / name).touch()
    (tmp_path / "region1_2.pt").mkdir()
    patterns = ("none/{scene}.pt", "{scene}_*.pt")
    assert [file.name for file in find_files("f", patterns, tmp_path, "region1")] == ["region1_0.pt", "region1_1.pt"]
    assert [file.name for file in find_files("f", patterns, tmp_path, "region[1]")] == ["region[1]_0.pt"]
    with pytest.raises(FileNotFoundError, match="'region2' has no f"):
        find_files("f", patterns, tmp_path, "region2")


def test_without_a_pattern_there_is_no_file(root: Path) -> None:
    with pytest.raises(ValueError, match="looked for no pattern at all"):
        read_named_scenes(listed(root, "scene0000_00"), root, ScenePatterns())
