"""From the settings of a distillation to its course: which scenes, which backbone, which teacher."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from geoguide3d.backbones.cached import with_encoding
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.weights import find_weights, sha256_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.distillation.course import Course, TeacherOf, read_lessons
from geoguide3d.distillation.lessons import LessonReader, Teacher
from geoguide3d.distillation.validation import Validation
from geoguide3d.encoders.loading import load_teacher
from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.fusion.cached import fuse_views_once
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.fusion.fused_files import fused_teacher, scenes_with_features
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.store.cache import FeatureCache
from geoguide3d.training.processes import Processes


def teacher_of(settings: DistillSettings, text: TextEncoder) -> TeacherOf:
    """Returns what gives the 2D features of a scene: fused from its frames, or stored ones."""
    if settings.fused_features is not None:
        assert settings.data_root is not None  # DistillSettings checks it
        stored = fused_teacher(settings.fused_features, settings.data_root, text)
        return lambda files: stored

    def of(files: SceneFiles) -> Teacher:
        folder = files.points if files.points.is_dir() else files.points.parent
        teacher = load_teacher(settings.teacher, folder, text)
        if settings.fused_cache is None:
            return partial(fuse_views, encoder=teacher, settings=settings.fusion)
        cache = FeatureCache(settings.fused_cache, torch.float16)  # as lessons keep them
        return partial(fuse_views_once, encoder=teacher, settings=settings.fusion, cache=cache)

    return of


def read_course(settings: DistillSettings, text: TextEncoder, teachers: TeacherOf, processes: Processes) -> Course:
    """Returns the lessons of all scenes of the list.

    Args:
        text: the text encoder of the settings.
        teachers: what teaches each scene of the list.

    Raises:
        FileNotFoundError, ValueError, OSError: what a user can cure.
    """
    scenes = _scenes(settings)
    weights = find_weights(settings.backbone, settings.backbone_weights)
    backbone = load_backbone(settings.backbone.name, settings.backbone.config, weights, settings.encoding.device)
    hashed = None if weights is None else sha256_of(weights)
    record = replace(settings.backbone, config=backbone.config, sha256=hashed, licence=backbone.licence)
    backbone = with_encoding(backbone, settings.encoding, weights)
    up = None if settings.up is None else torch.tensor(settings.up)
    reader = LessonReader(settings.capture, backbone, up, settings.guides, has_frames=settings.fused_features is None)
    validation = read_validation(settings, reader, text)
    return Course(read_lessons(scenes, reader, teachers, processes), validation, record)


def read_validation(settings: DistillSettings, reader: LessonReader, text: TextEncoder) -> Validation | None:
    """Returns what is measured while training; None where no list is given.

    Raises:
        FileNotFoundError, ValueError: no class names, or scenes that cannot be used.
    """
    wanted = settings.validation
    if wanted.scene_list is None:
        return None
    vectors = text.encode_text(wanted.prompts(settings.prompt_template))
    scenes = [reader.validation_scene(files) for files in settings.scene_files(wanted.scene_list)]
    return Validation(scenes, vectors, wanted.every, wanted.finer)


def _scenes(settings: DistillSettings) -> list[SceneFiles]:
    scenes = settings.scene_files(settings.scene_list)
    if settings.fused_features is None:
        return scenes
    assert settings.data_root is not None  # DistillSettings checks it
    return scenes_with_features(scenes, settings.fused_features, settings.data_root)
