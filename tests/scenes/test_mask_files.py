"""Files of masks: each kind comes back as it was, dropped rows leave, and damage is told with its cure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.mask_files import MASK_KINDS, MaskKind, read_masks, write_masks
from geoguide3d.scenes.scene import Scene

Bools = NDArray[np.bool_]
N, K = 7, 3
DENSE = arrays.arrays(bool, st.just((K, N))).filter(lambda dense: dense.any(axis=1).all())
SCORES = arrays.arrays(np.float32, K, elements=st.floats(0, 1, width=32))


def scene(count: int = N, kept: Tensor | None = None) -> Scene:
    return Scene(points=torch.zeros(count, 3), kept=kept)


def run_lengths(mask: Bools) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return " ".join(f"{start + 1} {end - start}" for start, end in edges.reshape(-1, 2))


def save_openmask3d(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    torch.save(dense.T.astype(np.float16), path / "a_masks.pt")
    return path / "a_masks.pt"


def save_sai3d(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    torch.save(torch.from_numpy(dense.T.astype(np.float64)), path / "b_masks.pt")
    return path / "b_masks.pt"


def save_scannet(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    (path / "pred_mask").mkdir(exist_ok=True)
    for number, mask in enumerate(dense):
        np.savetxt(path / "pred_mask" / f"{number:03d}.txt", mask.astype(int), fmt="%d")
    lines = [f"pred_mask/{number:03d}.txt 1 {score!r}\n" for number, score in enumerate(scores.tolist())]
    (path / "c.txt").write_text("".join(lines))
    return path / "c.txt"


def save_maskclustering(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    np.savez(path / "d.npz", pred_masks=dense.T, pred_score=scores, pred_classes=np.zeros(K, np.int32))
    return path / "d.npz"


def save_open3dis(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    torch.save({"ins": torch.from_numpy(dense.astype(np.uint8)), "conf": torch.from_numpy(scores)}, path / "e.pth")
    return path / "e.pth"


def save_run_lengths(path: Path, dense: Bools, scores: NDArray[Any]) -> Path:
    runs = [{"length": N, "counts": run_lengths(mask)} for mask in dense]
    torch.save({"ins": runs, "conf": scores.tolist(), "final_class": [0] * K}, path / "f.pth")
    return path / "f.pth"


Save = Callable[[Path, Bools, NDArray[Any]], Path]
MATRICES: list[Save] = [save_openmask3d, save_sai3d]
SCORED: list[Save] = [save_scannet, save_maskclustering, save_open3dis, save_run_lengths]
every_kind = pytest.mark.parametrize("save", [*MATRICES, *SCORED])


@every_kind
@settings(max_examples=30)
@given(dense=DENSE, scores=SCORES)
def test_masks_come_back(
    tmp_path_factory: pytest.TempPathFactory, save: Save, dense: Bools, scores: NDArray[Any]
) -> None:
    masks = read_masks(save(tmp_path_factory.mktemp("masks"), dense, scores), scene())
    np.testing.assert_array_equal(masks.to_dense().numpy(), dense)
    np.testing.assert_array_equal(masks.known_scores.numpy(), scores if save in SCORED else np.ones(K))


@settings(max_examples=30)
@given(dense=DENSE, scores=SCORES, kept=arrays.arrays(bool, N).filter(lambda kept: kept.any()))
def test_written_masks_come_back_to_a_scene_with_dropped_rows(
    tmp_path_factory: pytest.TempPathFactory, dense: Bools, scores: NDArray[Any], kept: Bools
) -> None:
    path = tmp_path_factory.mktemp("masks") / "a.npz"
    part = scene(int(kept.sum()), torch.from_numpy(kept))
    masks = PointMasks.from_dense(torch.from_numpy(dense[:, kept]), torch.from_numpy(scores))
    write_masks(path, masks, part)
    with np.load(path) as archive:
        assert archive["pred_masks"].shape == (N, K)
        assert not archive["pred_masks"][~kept].any()
    back, filled = read_masks(path, part), masks.sizes > 0
    assert torch.equal(back.to_dense(), masks.to_dense()[filled])
    assert torch.equal(back.known_scores, masks.known_scores[filled])


@every_kind
def test_rows_of_the_input_that_were_dropped_leave_the_masks(
    tmp_path: Path, save: Save, caplog: pytest.LogCaptureFixture
) -> None:
    dense = np.zeros((K, N), dtype=bool)
    dense[0, 2:4] = dense[1, [0, 6]] = dense[2, 3] = True
    path = save(tmp_path, dense, np.array([0.5, 0.25, 0.75], np.float32))
    kept = torch.arange(N) != 3
    with caplog.at_level(logging.WARNING):
        masks = read_masks(path, scene(N - 1, kept))
    assert masks.to_dense().nonzero().tolist() == [[0, 2], [1, 0], [1, 5]]
    assert "1 of 3 masks hold no point" in caplog.text


@pytest.mark.parametrize("save", [*MATRICES, save_maskclustering, save_open3dis])
def test_a_matrix_is_read_in_pieces(tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoguide3d.scenes.mask_files.matrix._VALUES_PER_CHUNK", 2 * K)
    dense = np.arange(K * N).reshape(K, N) % 4 == 0
    masks = read_masks(save(tmp_path, dense, HALF), scene())
    np.testing.assert_array_equal(masks.to_dense().numpy(), dense)


@pytest.mark.parametrize(("kind", "none"), [("sai3d_labels", 0), ("sam3d_labels", -1)])
@settings(max_examples=30)
@given(labels=arrays.arrays(np.int64, N, elements=st.integers(0, 4)))
def test_lists_of_ids(
    tmp_path_factory: pytest.TempPathFactory, kind: MaskKind, none: int, labels: NDArray[np.int64]
) -> None:
    ids, folder = labels + none, tmp_path_factory.mktemp("ids")
    expected = [ids == name for name in np.unique(ids) if name != none]
    np.savetxt(folder / "a.txt", ids, fmt="%d")
    torch.save(ids, folder / "a.pth")
    torch.save(torch.from_numpy(ids), folder / "b.pt")
    for path in folder.iterdir():
        np.testing.assert_array_equal(read_masks(path, scene(), kind).to_dense().numpy(), np.reshape(expected, (-1, N)))
        with pytest.raises(ValueError, match="which id means no mask depends on who wrote it"):
            read_masks(path, scene())


def test_ids_that_contradict_their_producer_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-1\n0\n1\n")
    with pytest.raises(ValueError, match=r"a\.txt: id -1 is below 0.*kind='sam3d_labels'"):
        read_masks(tmp_path / "a.txt", scene(3), "sai3d_labels")
    assert len(read_masks(tmp_path / "a.txt", scene(3), "sam3d_labels")) == 2
    for text, message in (("-2\n0\n1", "id -2 is below -1"), ("0\n0.5\n1", "point 1 has id 0.5"), ("0\nx\n1", "whole")):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_masks(tmp_path / "a.txt", scene(3), "sam3d_labels")
    (tmp_path / "a.txt").write_text("0\n" * 4)
    with pytest.raises(ValueError, match="4 ids for 3 points"):
        read_masks(tmp_path / "a.txt", scene(3), "sai3d_labels")


ONES = np.ones((K, N), dtype=bool)
HALF = np.full(K, 0.5, np.float32)


@every_kind
def test_masks_of_another_scene_are_refused(tmp_path: Path, save: Save) -> None:
    with pytest.raises(ValueError, match=r"(?s)masks.*(7|\(7, 3\)|\(3, 7\)).*8.*scene"):
        read_masks(save(tmp_path, ONES, HALF), scene(8))


def test_tensors_of_bfloat16_and_with_gradients_are_read(tmp_path: Path) -> None:
    conf = torch.tensor([0.5, 0.25, 1.0], dtype=torch.bfloat16)
    torch.save({"ins": torch.ones(K, N, dtype=torch.bfloat16), "conf": conf}, tmp_path / "a.pth")
    torch.save(torch.ones(N, K, requires_grad=True), tmp_path / "b.pt")
    assert read_masks(tmp_path / "a.pth", scene()).known_scores.tolist() == [0.5, 0.25, 1.0]
    assert read_masks(tmp_path / "b.pt", scene()).sizes.tolist() == [N] * K


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_of_windows_names_masks_with_any_letters(tmp_path: Path, start: str, end: str) -> None:
    path = save_scannet(tmp_path, ONES, HALF)
    (tmp_path / "pred_mask" / "Stühle.txt").write_text(end.join("1000000") + end, newline="")
    path.write_text(f"{start}pred_mask/Stühle.txt 1 0.5{end}", encoding="utf-8", newline="")
    assert read_masks(path, scene()).to_dense().nonzero().tolist() == [[0, 0]]


def test_a_square_matrix_is_refused(tmp_path: Path) -> None:
    torch.save(np.ones((N, N), np.float16), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: 7 masks of 7 points could lie either way"):
        read_masks(tmp_path / "a.pt", scene())


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, np.nan, np.inf])
def test_values_other_than_0_and_1_are_refused(tmp_path: Path, value: float) -> None:
    matrix = np.ones((N, K), np.float16)
    matrix[4, 2] = value
    torch.save(matrix, tmp_path / "a.pt")
    with pytest.raises(
        ValueError, match=rf"a\.pt: masks hold 0 and 1, this one {value}; save it as `masks > threshold`"
    ):
        read_masks(tmp_path / "a.pt", scene())
    path = save_scannet(tmp_path, ONES, HALF)
    (tmp_path / "pred_mask" / "001.txt").write_text("1\n" * 6 + f"{value}\n")
    with pytest.raises(ValueError, match=r"001\.txt, line 7: masks hold 0 and 1"):
        read_masks(path, scene())


@pytest.mark.parametrize("save", SCORED)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_scores_must_be_finite_in_float32(tmp_path: Path, save: Save, value: float) -> None:
    with pytest.raises(ValueError, match=r"\[1\] is (nan|inf); scores must be finite, leave that mask out or score it"):
        read_masks(save(tmp_path, ONES, np.array([0.5, value, 0.5])), scene())


@pytest.mark.parametrize("save", SCORED[1:])
def test_each_mask_needs_a_score(tmp_path: Path, save: Save) -> None:
    with pytest.raises(ValueError, match=r"2 .*for 3 masks; each mask needs one"):
        read_masks(save(tmp_path, ONES, HALF[:2]), scene())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../b.txt 1 0.5", r"\.\./b\.txt leaves the folder"),
        ("/etc/hostname 1 0.5", "leaves the folder"),
        ("pred_mask/9.txt 1 0.5", r"names pred_mask/9\.txt, but .* does not exist"),
        ("pred_mask/000.txt 1", "line 4: expected 'path class score'"),
        ("pred_mask/000.txt 1 high", "line 4: the score is 'high', not a number"),
    ],
)
def test_lines_of_a_list_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    path = save_scannet(tmp_path, ONES, HALF)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_masks(path, scene())


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"length": 6, "counts": "1 2"}, "it is of 6 points"),
        ({"length": N, "counts": "0 2"}, r"inside 1 … 7 \(starts count from 1\)"),
        ({"length": N, "counts": "6 3"}, "inside 1 … 7"),
        ({"length": N, "counts": "3 2 4 1"}, "without overlap"),
        ({"length": N, "counts": [5, 1, 1, 2]}, "must rise"),
        ({"length": N, "counts": "1 2 3"}, "pairs of start and count, got 3 numbers"),
        ({"length": N, "counts": "1 x"}, "whole numbers"),
        ({"length": N, "counts": [1.5, 2.0]}, "whole numbers"),
        ({"counts": "1 2"}, "a dict of 'length' and 'counts'"),
        ("1 2", "a dict of 'length' and 'counts'"),
    ],
)
def test_run_lengths_that_are_refused(tmp_path: Path, runs: Any, message: str) -> None:
    torch.save({"ins": [{"length": N, "counts": [1, 2, 5, 1]}, runs], "conf": [0.5, 0.5]}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"a\.pth, mask 1: .*{message}"):
        read_masks(tmp_path / "a.pth", scene())


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ({"masks": torch.ones(K, N)}, "auto", "holds a dict, and masks are none such; openmask3d"),
        (torch.ones(1, K, N), "auto", "holds a Tensor"),
        ({"ins": torch.ones(K, N)}, "auto", "no 'conf'"),
        ({"ins": "masks", "conf": [0.5]}, "auto", "a matrix or a list of run lengths, got a str"),
        (torch.ones(N, K), "open3dis", "does not hold what kind='open3dis' means"),
        (torch.ones(N, K), "sam3d_labels", "does not hold what kind='sam3d_labels' means"),
        (torch.ones(N, K), "scannet", "no masks of kind 'scannet' are in a file .pt"),
        (torch.ones(N, K), "sam", "kind must be one of auto, openmask3d"),
        (torch.ones(N, K, dtype=torch.complex64), "auto", r"a\.pt: masks must be an array or a tensor of numbers"),
        (torch.ones(N, K).to_sparse(), "auto", r"a\.pt: masks must be a dense tensor"),
        ({"ins": torch.ones(K, N).to_sparse(), "conf": [0.5] * K}, "auto", r"a\.pt: ins must be a dense tensor"),
    ],
)
def test_contents_of_another_kind(tmp_path: Path, content: Any, kind: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        read_masks(tmp_path / "a.pt", scene(), kind)


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.npz does not exist; masks are a file of one of these kinds"):
        read_masks(tmp_path / "b.npz", scene())
    (tmp_path / "a.ply").write_text("ply")
    with pytest.raises(ValueError, match=r"no masks of kind 'auto' are in a file \.ply"):
        read_masks(tmp_path / "a.ply", scene())
    np.savez(tmp_path / "a.npz", points=np.zeros(3))
    with pytest.raises(ValueError, match="masks are the arrays pred_masks and pred_score, found points"):
        read_masks(tmp_path / "a.npz", scene())
    with pytest.raises(ValueError, match=r"masks are written as \.npz, name it a\.npz"):
        write_masks(tmp_path / "a.txt", PointMasks.from_dense(torch.ones(1, N).bool()), scene())
    with pytest.raises(ValueError, match="masks of 7 points do not belong to scene with 8"):
        write_masks(tmp_path / "c.npz", PointMasks.from_dense(torch.ones(1, N).bool()), scene(8))
    assert not (tmp_path / "c.npz").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [save_openmask3d, *SCORED])
@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_an_error_that_names_the_file_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, save: Save, data: st.DataObject
) -> None:
    path = save(tmp_path_factory.mktemp("masks"), ONES, HALF)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    path.write_bytes(data.draw(st.sampled_from([whole[:cut], whole[:cut] + bytes([byte]) + whole[cut + 1 :]])))
    message = path.name
    try:
        assert read_masks(path, scene()).point_count == N
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    assert path.name in message or "pred_mask" in message


def test_every_kind_but_auto_is_described() -> None:
    assert read_masks.__doc__ is not None
    assert all(f"{kind}: " in read_masks.__doc__ for kind in MASK_KINDS)
