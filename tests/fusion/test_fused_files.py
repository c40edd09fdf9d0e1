from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide3d.encoders.text_table import TextTable, TextTableSettings
from geoguide3d.fusion.fused_files import FusedFileSettings, fused_teacher, read_fused_rows, scenes_with_features
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.scene import Scene
from tests.end_to_end.openscene_layout import save

WORDS = TextTable(["floor", "box"], torch.eye(3)[:2], TextTableSettings(text_space="words", background=""))
HALF = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]]).half()
MASK = torch.tensor([True, False, True, True, False])


def scene_of(count: int, kept: torch.Tensor | None = None) -> Scene:
    return Scene(torch.rand(count, 3), kept=kept, name="room")


def written(path: Path, feat: Any = HALF, mask_full: Any = MASK, **more: Any) -> Path:
    save({"feat": feat, "mask_full": mask_full, **more}, path)
    return path


@settings(deadline=None)  # files
@given(data=st.data())
def test_chunks_in_any_form_are_united(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Five draws of one fusion, as OpenScene, SAS or the older script wrote them, by numpy or torch."""
    folder = tmp_path_factory.mktemp("fused")
    seed, count, channels = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    random = np.random.default_rng(seed)
    features = (random.random((count, channels)) + 0.1).astype(np.float16)
    seen, held, files = random.random(count) < 0.7, np.zeros(count, dtype=bool), []
    for index in range(data.draw(st.integers(1, 5))):
        chunk = random.random(count) < 0.6
        legacy, by_numpy = data.draw(st.booleans()), data.draw(st.booleans())
        content = {"feat": features[chunk & seen], "mask_full": chunk & seen}
        if legacy:
            rows = features[chunk].copy()
            rows[~seen[chunk]] = np.nan  # what no view saw may hold anything
            content = {"feat": rows[..., None], "mask": np.flatnonzero(seen[chunk]), "mask_full": chunk}
        files.append(folder / f"room_{index}.pt")
        save(content if by_numpy else {key: torch.from_numpy(value) for key, value in content.items()}, files[-1])
        held |= chunk & seen
    rows = read_fused_rows(files, scene_of(count))
    assert np.array_equal(rows.point_ids.numpy(), np.flatnonzero(held))
    assert rows.features.dtype == torch.float16
    assert np.array_equal(rows.features.numpy(), features[held])
    fused = rows.to_points()
    assert np.array_equal(fused.seen.numpy(), held)
    assert np.array_equal(fused.features.numpy(), np.where(held[:, None], features.astype(np.float32), 0))


def test_rows_follow_the_reader_of_the_scene(tmp_path: Path) -> None:
    """Point 1 and 2 of the file's five were dropped with their coordinates; features of length 0 teach nothing."""
    kept = torch.tensor([True, False, False, True, True])
    rows = read_fused_rows([written(tmp_path / "a.pt")], scene_of(3, kept))
    assert rows.point_ids.tolist() == [0, 1]
    assert rows.features.tolist() == [[1, 0, 0], [0, 0, 3]]
    rows = read_fused_rows([written(tmp_path / "b.pt", HALF * torch.tensor([[1], [0], [1]]))], scene_of(5))
    assert rows.point_ids.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mask_full": torch.ones(4, dtype=torch.bool)}, "mask_full counts 4 points, the scene's file has 5"),
        ({"mask_full": MASK.float()}, r"mask_full must be \(N,\) bool, got \(5,\) torch.float32"),
        ({"feat": HALF[:2]}, "2 rows in feat for 3 points in mask_full"),
        ({"feat": HALF[:, 0]}, r"feat must be \(M, C\) floats, got \(3,\)"),
        ({"feat": HALF.long()}, r"feat must be \(M, C\) floats, got .* torch.int64"),
        ({"feat": [1, 2]}, "feat must be an array or a tensor of numbers, got list"),
        ({"feat": HALF / torch.tensor([[1], [0], [1]])}, "1 of 3 features hold inf or NaN, of points 2; fuse"),
        ({"mask": torch.tensor([0, 3])}, "mask names rows 0 to 3, feat has 3"),
        ({"mask": torch.tensor([-1, 0])}, "mask names rows -1 to 0"),
        ({"mask": torch.tensor([0.5])}, "mask must hold row numbers"),
        ({"mask": torch.tensor([True, False])}, "mask must hold row numbers"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.pt: {message}"):
        read_fused_rows([written(tmp_path / "a.pt", **content)], scene_of(5))


def test_of_a_third_axis_the_first_entry_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", torch.stack([HALF, 2 * HALF], dim=-1))
    assert torch.equal(read_fused_rows([path], scene_of(5)).features, HALF)


@pytest.mark.parametrize("content", [torch.ones(5, 3), {"features": HALF}, {"feat": HALF}, (HALF, MASK)])
def test_other_content_is_refused(tmp_path: Path, content: object) -> None:
    save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: expected a dictionary with keys feat"):
        read_fused_rows([tmp_path / "a.pt"], scene_of(5))


def test_chunks_of_two_fusions_are_refused(tmp_path: Path) -> None:
    """A last bit of float16 may differ, more may not; nor may the width."""
    near, far = HALF.clone(), HALF.clone()
    near[1, 1] = 2 + 2**-9  # one bit
    far[2, 2] = 3 + 2**-6  # eight
    files = [written(tmp_path / "a.pt"), written(tmp_path / "near.pt", near)]
    assert torch.equal(read_fused_rows(files, scene_of(5)).features, HALF)  # the first counts
    with pytest.raises(ValueError, match=r"far\.pt: 1 points have other features .* e\.g\. point 3"):
        read_fused_rows([*files, written(tmp_path / "far.pt", far)], scene_of(5))
    with pytest.raises(ValueError, match=r"room: its files have features of \[2, 3\] channels"):
        read_fused_rows([*files, written(tmp_path / "narrow.pt", HALF[:, :2])], scene_of(5))


@pytest.mark.parametrize("cut", [0, 100, -20])
def test_a_truncated_file_is_an_error(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.pt"):
        read_fused_rows([path], scene_of(5))


def test_teacher_finds_the_files_of_a_scene(tmp_path: Path) -> None:
    written(tmp_path / "fused" / "room_0.pt")
    written(tmp_path / "fused" / "room_two_0.pt", HALF[:, :2])
    stored = FusedFileSettings(("fused/{scene}_?.pt",), "words")
    teacher = fused_teacher(stored, tmp_path, WORDS)
    fused = teacher(scene_of(5), [])
    assert fused.seen.tolist() == MASK.tolist()
    assert torch.equal(fused.features[MASK], HALF.float())
    with pytest.raises(FileNotFoundError, match=r"scene 'hall' has no fused features; looked for .*hall_\?\.pt"):
        teacher(Scene(torch.rand(5, 3), name="hall"), [])
    with pytest.raises(ValueError, match=r"room_two_0\.pt: features of 2 channels, but vectors of words have 3"):
        teacher(Scene(torch.rand(5, 3), name="room_two"), [])


def test_teacher_and_text_share_a_space(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"speak clip-vit-b-32/openai, but text\.kind answers in words"):
        fused_teacher(FusedFileSettings(), tmp_path, WORDS)


@pytest.mark.parametrize("files", [(), ("fused/*.pt",)])
def test_patterns_are_checked(files: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="pattern"):
        FusedFileSettings(files)


def test_scenes_without_features_stop_or_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Some regions of Matterport3D have none."""
    written(tmp_path / "a_0.pt")
    scenes = [SceneFiles(name, tmp_path / f"{name}.pth") for name in ("a", "b")]
    with pytest.raises(FileNotFoundError, match="scene 'b' has no fused features"):
        scenes_with_features(scenes, FusedFileSettings(("{scene}_*.pt",)), tmp_path)
    skipping = FusedFileSettings(("{scene}_*.pt",), skip_missing=True)
    assert scenes_with_features(scenes, skipping, tmp_path) == scenes[:1]
    assert "1 of 2 scenes have no fused features" in caplog.text
    with pytest.raises(FileNotFoundError, match="scene 'b' has no"):
        scenes_with_features(scenes[1:], skipping, tmp_path)
