"""Files of superpoints: what is written is read, and what is damaged, foreign or of another scene is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.geometry.superpoints import numbered_by_first_point
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.superpoint_files import read_segs_params, read_superpoints, write_superpoints

SUFFIXES = pytest.mark.parametrize("suffix", [".segs.json", ".pth", ".pt"])
IDS = st.lists(st.integers(0, 2**62), min_size=1, max_size=12)


def scene_of(count: int, kept: list[bool] | None = None) -> Scene:
    rows = count if kept is None else sum(kept)
    return Scene(torch.zeros(rows, 3), kept=None if kept is None else torch.tensor(kept), name="scene0000_00")


def save(ids: Any, path: Path) -> Path:
    """Writes ids as others do: a plain list as .json, anything through torch.save else."""
    if path.suffix == ".json":
        path.write_text(json.dumps({"segIndices": ids}))
    else:
        torch.save(ids, path)
    return path


def test_scannet_file(tmp_path: Path) -> None:
    """As in the published files: union-find roots, which are neither contiguous nor in order, and params in words."""
    path = tmp_path / "scene0000_00_vh_clean_2.0.010000.segs.json"
    params = {"kThresh": "0.0100", "segMinVerts": "20", "maxPoints": "30000"}
    path.write_text(json.dumps({"params": params, "sceneId": "scene0000_00", "segIndices": [93, 7, 7, 93, 5, 7]}))
    superpoints = read_superpoints(path, scene_of(6))
    assert superpoints.dtype == torch.int64
    assert superpoints.tolist() == [0, 1, 1, 0, 2, 1]
    assert read_segs_params(path) == params
    write_superpoints(tmp_path / "again.segs.json", superpoints, scene_of(6), read_segs_params(path))
    assert read_segs_params(tmp_path / "again.segs.json") == params
    assert json.loads((tmp_path / "again.segs.json").read_text())["sceneId"] == "scene0000_00"


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint64, np.float64, np.float32, ">i4"])
def test_sas_and_open3dis_files(tmp_path: Path, dtype: Any) -> None:
    ids = np.array([4, 4, 0, 9], dtype=dtype)
    assert read_superpoints(save(ids, tmp_path / "sas.pth"), scene_of(4)).tolist() == [0, 0, 1, 2]
    if np.dtype(dtype).isnative:
        content = torch.from_numpy(ids)
        assert read_superpoints(save(content, tmp_path / "open3dis.pth"), scene_of(4)).tolist() == [0, 0, 1, 2]


def test_what_is_written_is_what_sas_writes(tmp_path: Path) -> None:
    write_superpoints(tmp_path / "a.pth", torch.tensor([0, 1, 1]), scene_of(3))
    content = torch.load(tmp_path / "a.pth", weights_only=False)
    assert isinstance(content, np.ndarray)
    assert content.dtype == np.int64
    assert content.tolist() == [0, 1, 1]
    write_superpoints(tmp_path / "b.pth", torch.tensor([0, 1, 1]), scene_of(3))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


@SUFFIXES
@given(ids=IDS)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, suffix: str, ids: list[int]) -> None:
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    write_superpoints(path, torch.tensor(ids), scene_of(len(ids)))
    back = read_superpoints(path, scene_of(len(ids)))
    assert torch.equal(back, numbered_by_first_point(torch.tensor(ids)))
    assert [path.name] == [file.name for file in path.parent.iterdir()]


@SUFFIXES
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=12).filter(
        lambda r: any(r_[0] for r_ in r)
    )
)
def test_files_speak_of_the_rows_of_the_input(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[tuple[bool, int]]
) -> None:
    """Rows that the reader of the scene dropped have ids in the file, of their own, and none in the scene."""
    path = tmp_path_factory.mktemp("rows") / f"a{suffix}"
    kept, ids = [row[0] for row in rows], torch.tensor([row[1] for row in rows])
    scene, all_rows = scene_of(len(rows), kept), scene_of(len(rows))
    mine = ids[torch.tensor(kept)]
    write_superpoints(path, mine, scene)
    assert torch.equal(read_superpoints(path, scene), numbered_by_first_point(mine))
    in_file = read_superpoints(path, all_rows)
    dropped = in_file[~torch.tensor(kept)]
    assert len(dropped.unique()) == len(dropped) == kept.count(False)
    assert not set(dropped.tolist()) & set(in_file[torch.tensor(kept)].tolist())
    # A file of somebody else is cut to the kept rows, whatever its ids of the others are.
    path.unlink()
    save(ids.tolist() if path.suffix == ".json" else ids.numpy(), path)
    assert torch.equal(read_superpoints(path, scene), numbered_by_first_point(mine))


@SUFFIXES
@given(count=st.integers(0, 8), wanted=st.integers(1, 8))
def test_another_length_is_refused(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, count: int, wanted: int
) -> None:
    path = tmp_path_factory.mktemp("length") / f"a{suffix}"
    save([3] * count if path.suffix == ".json" else np.full(count, 3), path)
    expected = contextlib.nullcontext()
    if count != wanted:
        match = f"a{suffix}: holds {count} ids, but scene0000_00 has {wanted} points: give the file"
        expected = pytest.raises(ValueError, match=match)
    with expected:
        assert read_superpoints(path, scene_of(wanted)).tolist() == [0] * wanted


@SUFFIXES
def test_a_file_without_the_dropped_rows_names_the_cure(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save([1, 2] if path.suffix == ".json" else np.array([1, 2]), path)
    with pytest.raises(
        ValueError, match=r"holds 2 ids, but scene0000_00 has 3 points: it fits the 2 points left after"
    ):
        read_superpoints(path, scene_of(3, [True, False, True]))


BAD = [
    ([0, -1], "0 or more, got -1"),
    ([0, 1.5], r"whole numbers, got 1\.5"),
    ([0, float("nan")], "whole numbers, got nan"),
    ([0, float("inf")], "whole numbers, got inf"),
    ([0, 2.0**63], "must fit int64"),
    ([True, False], "whole numbers|one row of whole numbers"),
]


@SUFFIXES
@pytest.mark.parametrize(("ids", "match"), BAD)
def test_ids_that_are_none_are_refused(tmp_path: Path, suffix: str, ids: list[Any], match: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(ids if path.suffix == ".json" else np.array(ids), path)
    with pytest.raises(ValueError, match=match) as error:
        read_superpoints(path, scene_of(2))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]",
        "{}",
        '{"segIndices": 3}',
        '{"segIndices": ["1", "2"]}',
        '{"segIndices": [[1], [2]]}',
        '{"segIndices": [1, null]}',
        '{"segIndices": [1, 99999999999999999999999]}',
        "",
        "[" * 100_000,
    ],
)
def test_json_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.segs.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a\.segs\.json"):
        read_superpoints(path, scene_of(2))


@pytest.mark.parametrize(
    "content",
    [
        {"ids": np.arange(2)}, (np.arange(2), 0), np.zeros((2, 1), dtype=np.int64), torch.ones(2, dtype=torch.bfloat16),
        torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.complex64), np.array(2),
    ],
)  # fmt: skip
def test_torch_files_of_another_kind_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match=r"a\.pth"):
        read_superpoints(save(content, tmp_path / "a.pth"), scene_of(2))


@SUFFIXES
@given(data=st.data())
def test_damaged_files_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / f"a{suffix}"
    write_superpoints(path, torch.arange(5), scene_of(5), {"kThresh": 0.01} if path.suffix == ".json" else None)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = whole[:place]
    changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    path.write_bytes(cut)
    with pytest.raises(ValueError, match=f"a{suffix}"):
        read_superpoints(path, scene_of(5))
    path.write_bytes(changed)
    with contextlib.suppress(ValueError):
        assert read_superpoints(path, scene_of(5)).shape == (5,)


def test_params_that_are_none(tmp_path: Path) -> None:
    assert read_segs_params(save([0], tmp_path / "a.json")) == {}
    (tmp_path / "a.json").write_text('{"params": [1], "segIndices": [0]}')
    with pytest.raises(ValueError, match="params must be an object, got list"):
        read_segs_params(tmp_path / "a.json")


@SUFFIXES
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"a{suffix} does not exist"):
        read_superpoints(tmp_path / f"a{suffix}", scene_of(1))


@pytest.mark.parametrize(
    ("superpoints", "match"),
    [
        (torch.zeros(3, dtype=torch.int64), r"must be \(2,\) int64, got \(3,\)"),
        (torch.zeros(2), r"got \(2,\) torch.float32"),
        (torch.tensor([0, -1]), "0 or more, got -1"),
    ],
)
def test_what_is_no_superpoints_is_not_written(tmp_path: Path, superpoints: Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        write_superpoints(tmp_path / "a.pth", superpoints, scene_of(2))
    assert list(tmp_path.iterdir()) == []


def test_other_suffixes_and_params_in_a_pth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as \.json, \.pth, \.pt, not as '\.txt'"):
        write_superpoints(tmp_path / "a.txt", torch.zeros(1, dtype=torch.int64), scene_of(1))
    with pytest.raises(ValueError, match=r"read from \.json, \.pth, \.pt, not from '\.txt'"):
        read_superpoints(tmp_path / "a.txt", scene_of(1))
    with pytest.raises(ValueError, match="holds no params"):
        write_superpoints(tmp_path / "a.pth", torch.zeros(1, dtype=torch.int64), scene_of(1), {"kThresh": 1})
    assert list(tmp_path.iterdir()) == []
