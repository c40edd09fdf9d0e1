from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoguide3d.scenes.scene_list import read_scene_list


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    for name in ("scene0000_00", "scene0001_00", "room #2"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "beside.ply").touch()
    return tmp_path / "data"


def write_list(data_root: Path, text: str) -> Path:
    path = data_root.parent / "lists" / "train.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_names_and_paths_in_order(data_root: Path) -> None:
    absolute = data_root / "scene0000_00"
    path = write_list(data_root, f"# train\n\nscene0001_00  # the kitchen\n{absolute}\n  beside.ply\t# relative\r\n")
    assert read_scene_list(path, data_root) == [data_root / "scene0001_00", absolute, path.parent / "beside.ply"]


def test_without_a_data_root_paths_start_at_the_list(data_root: Path) -> None:
    path = write_list(data_root, "../data/scene0000_00\nbeside.ply\n")
    assert [scene.resolve() for scene in read_scene_list(path, None)] == [
        data_root.resolve() / "scene0000_00",
        path.parent.resolve() / "beside.ply",
    ]


def test_a_hash_inside_a_name_is_no_comment(data_root: Path) -> None:
    (data_root / "room#3").mkdir()
    assert read_scene_list(write_list(data_root, "room#3\n#room 4\n"), data_root) == [data_root / "room#3"]


def test_a_byte_order_mark_is_no_part_of_a_name(data_root: Path) -> None:
    assert read_scene_list(write_list(data_root, "\ufeffscene0000_00"), data_root) == [data_root / "scene0000_00"]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   # yet\n"])
def test_an_empty_list_is_an_error(data_root: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"train\.txt: the scene list is empty; write one scene per line"):
        read_scene_list(write_list(data_root, text), data_root)


def test_a_missing_scene_is_named_with_its_line_and_every_place(data_root: Path) -> None:
    path = write_list(data_root, "# train\nscene0000_00\nscene0007_00\n")
    places = f"{data_root / 'scene0007_00'} and {path.parent / 'scene0007_00'}".replace(os.sep, "/")
    with pytest.raises(ValueError, match=r"train\.txt:3: no scene 'scene0007_00'.*--data-root") as caught:
        read_scene_list(path, data_root)
    assert places in str(caught.value).replace(os.sep, "/")


def test_a_scene_named_twice_is_an_error(data_root: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.txt:2: 'scene0000_00' is already on line 1"):
        read_scene_list(write_list(data_root, "scene0000_00\nscene0000_00\n"), data_root)


def test_a_missing_or_binary_list_is_an_error(data_root: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.txt: no such scene list"):
        read_scene_list(data_root / "nowhere.txt", None)
    (data_root / "a.txt").write_bytes(b"\xff\xfe\x80\x81")
    with pytest.raises(ValueError, match=r"a\.txt: not a text file"):
        read_scene_list(data_root / "a.txt", None)
