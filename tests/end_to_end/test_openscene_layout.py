"""Rooms in OpenScene's and SAS's layout come back through the readers, found by the names of a list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.settings import parse_settings
from geoguide3d.encoders.label_sets import LABEL_SETS, OPENSCENE_TEMPLATE
from geoguide3d.encoders.room_clip import RoomClipTextEncoder
from geoguide3d.fusion.fused_files import FusedFileSettings, fused_teacher, read_fused_rows
from geoguide3d.scenes.named_scenes import SceneFiles, ScenePatterns, find_files, read_named_scenes
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.store.torch_files import read_torch_file
from tests.end_to_end.openscene_layout import Layout, tensors_of, write_layout

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = ("scannet_sas", "scannet_lseg", "scannet_openseg", "matterport_openseg", "nuscenes_openseg")
SCANNET = ScenePatterns(
    points=("scannet_3d/train/{scene}_vh_clean_2.pth", "scannet_3d/val/{scene}_vh_clean_2.pth"),
    superpoints=("scannet_3d/superpoint/{scene}_vh_clean_2.pth",),
    masks=("openmask3d/{scene}_masks.pt",),
)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return write_layout(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def scenes(layout: Layout) -> list[SceneFiles]:
    lists = (layout.train_list, layout.val_list)
    return [scene for path in lists for scene in read_named_scenes(path, layout.data_root, SCANNET)]


def test_points_come_back(layout: Layout, scenes: list[SceneFiles]) -> None:
    assert [files.name for files in scenes] == [*layout.train, *layout.val]
    for files in scenes:
        scene, truth = read_scene(files.points), layout.truth[files.name]
        assert scene.name == files.name
        np.testing.assert_allclose(scene.points_world.numpy(), truth.points, atol=1e-6)
        assert scene.colors is not None and scene.labels is not None and scene.up is not None
        assert np.array_equal((scene.colors * 255).round().numpy(), truth.colors)
        assert np.array_equal(scene.labels.numpy(), truth.labels)
        assert scene.up.tolist() == [0, 0, 1]


def test_files_are_of_their_time(scenes: list[SceneFiles]) -> None:
    content = scenes[0].points.read_bytes()
    assert b"cnumpy.core.multiarray" in content
    assert b"numpy._core" not in content


def test_superpoints_and_masks_are_as_long(layout: Layout, scenes: list[SceneFiles]) -> None:
    for files in scenes:
        count = len(layout.truth[files.name].points)
        assert files.superpoints is not None and files.masks is not None
        ids, masks = read_torch_file(files.superpoints), read_torch_file(files.masks)
        assert ids.dtype == np.int64 and len(np.unique(ids)) == ids.max() + 1 and len(ids) == count
        assert masks.dtype == np.float16 and len(masks) == count


def test_whole_scenes_of_features_come_back(layout: Layout, scenes: list[SceneFiles]) -> None:
    teacher = fused_teacher(FusedFileSettings(text_space="roomclip-1"), layout.data_root, RoomClipTextEncoder.load())
    for files in scenes:
        truth = layout.truth[files.name]
        fused = teacher(read_scene(files.points), [])
        assert np.array_equal(fused.seen.numpy(), truth.seen)
        assert np.array_equal(fused.features.numpy(), truth.features.astype(np.float16).astype(np.float32))


def test_chunks_are_united(layout: Layout, scenes: list[SceneFiles]) -> None:
    name = layout.train[0]
    files = find_files("features", ("scannet_multiview_openseg/{scene}_*.pt",), layout.data_root, name)
    rows = read_fused_rows(files, read_scene(scenes[0].points))
    ids, features = tensors_of(layout.truth[name])
    assert len(files) == 5
    assert len(read_torch_file(files[0])["feat"]) < len(rows.point_ids) < len(ids)
    of_truth = torch.searchsorted(ids, rows.point_ids)
    assert torch.equal(ids[of_truth], rows.point_ids)
    assert torch.equal(features[of_truth], rows.features)


def published(name: str) -> DistillSettings:
    words = ["--config", str(FOLDER / f"{name}.yaml"), "--scene-list", "list", "--data-root", "data", "--output", "out"]
    return parse_settings(DistillSettings, words)[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_published_settings_fit_together(name: str) -> None:
    settings = published(name)
    assert settings.scenes.points and settings.fused_features is not None
    assert settings.fused_features.text_space == settings.text.table.text_space
    assert ("openseg" in name) == ("vit-l-14-336" in settings.text.table.text_space)
    assert settings.validation.label_set in LABEL_SETS
    assert settings.prompt_template == OPENSCENE_TEMPLATE
    assert settings.training.optimizer == "adam" and settings.training.decay == "poly"


@pytest.mark.parametrize(
    ("name", "epochs_and_scenes", "batch", "seed"),
    [
        ("scannet_sas", 100 * 5 * 1201, 16, 114514),
        ("scannet_lseg", 100 * 5 * 1201, 8, 1463),
        ("scannet_openseg", 100 * 5 * 1201, 8, 1463),
        ("matterport_openseg", 100 * 5 * 1201, 8, 3407),  # as many as for ScanNet, says the file
        ("nuscenes_openseg", 100 * 1 * 700, 16, 3407),
    ],
)
def test_published_numbers_are_those_of_the_codes(name: str, epochs_and_scenes: int, batch: int, seed: int) -> None:
    """openscene @ 0f369bc and SAS @ 38764c2: batches, seeds, epochs times loop, the rate after the first step."""
    settings = published(name)
    training = settings.training
    assert (training.scenes_per_step, training.seed, training.learning_rate) == (batch, seed, 1e-3)
    assert training.steps == epochs_and_scenes // batch
    assert (training.weight_decay, training.warm_up) == (0, 0)
    assert (settings.superpoints.k_threshold, settings.superpoints.min_size) == (0.01, 60)
    assert settings.masks.least_score == 0.5


def test_nuscenes_is_asked_for_its_finer_words() -> None:
    settings = published("nuscenes_openseg")
    prompts = settings.validation.prompts(settings.prompt_template)
    assert len(prompts) == 43
    assert prompts[-1] == "a woods in a scene"
    assert settings.validation.finer is LABEL_SETS["nuscenes_16"]
    scannet = published("scannet_sas")
    assert scannet.validation.finer is None
    assert scannet.validation.prompts(scannet.prompt_template)[-2:] == ["a bathtub in a scene", "other"]


@pytest.mark.parametrize("name", ["scannet_sas", "scannet_openseg"])
def test_scannet_settings_find_the_files(layout: Layout, name: str) -> None:
    settings = published(name)
    assert settings.fused_features is not None
    for files in read_named_scenes(layout.train_list, layout.data_root, settings.scenes):
        assert (files.superpoints is not None) == (name == "scannet_sas")
        features = find_files("features", settings.fused_features.files, layout.data_root, files.name)
        assert len(features) == (1 if name == "scannet_sas" else 5)
        assert len(read_fused_rows(features, read_scene(files.points)).point_ids) > 0
