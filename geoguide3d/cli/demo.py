"""Make rooms, distil RoomCLIP on some of them, ask the others questions in words, and see how well it went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.cli.distill import make_model
from geoguide3d.cli.distill_course import read_course, teacher_of
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.distillation.course import Course, TeacherOf
from geoguide3d.distillation.lessons import Teacher
from geoguide3d.encoders.loading import load_text_encoder
from geoguide3d.encoders.prompts import class_prompt
from geoguide3d.encoders.room_clip import RoomClipImageEncoder
from geoguide3d.evaluation.confusion import ConfusionMatrix, Scores
from geoguide3d.evaluation.open_vocabulary import nearest_class
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.query.export import export_answer
from geoguide3d.query.model import GeoGuide
from geoguide3d.scenes.named_scenes import SceneFiles
from geoguide3d.scenes.orientation import with_up
from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.posed_folder import open_posed_folder
from geoguide3d.scenes.rooms import CATEGORIES, Room, Split, is_held_out, make_room
from geoguide3d.scenes.rooms.export import write_room
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View
from geoguide3d.store.atomic import atomic_file
from geoguide3d.training.processes import Processes

EXAMPLES = """examples:
  geoguide3d demo --output outputs/demo
  geoguide3d demo --output outputs/small --train-rooms 2 --test-rooms 1 --views 12 --steps 100
"""
POINTS_PER_STEP = 4_000
LEARNING_RATE = 0.002  # the best for so short a training in docs/ablation.md
SMALLEST_SUPERPOINT = 20  # points of the rooms are 2 to 3 cm apart
UP = torch.tensor([0.0, 0.0, 1.0])
MEANINGS = {  # question: the categories that answer it
    "something to sit on": ("chair", "armchair", "stool", "sofa"),
    "a fridge": ("refrigerator",),
    "something that gives light": ("lamp",),
    "a couch": ("sofa",),
    "something to sleep on": ("bed",),
    "a painting": ("picture",),
    "a window": ("window",),
    "something to wash hands": ("sink",),
    "a carpet": ("rug",),
    "the floor": ("floor",),
}


@dataclass(frozen=True)
class DemoSettings:
    """Shows the whole way on procedural rooms: render, fuse, distil, ask; nothing is downloaded.

    Shapes, room plans, textures and pairs of category and colour of the test rooms occur in no room that RoomCLIP or
    the adapter was trained on.

    Args:
        output: folder for rooms, model and answers; those of an earlier demo are replaced.
        train_rooms: rooms that the adapter learns from.
        test_rooms: held-out rooms that are measured; the first that can answer five questions is asked.
        views: frames of the walk through each room.
        steps: training steps of the adapter.
        first_seed: seed of the first room of each kind.
    """

    output: Path
    train_rooms: int = 16
    test_rooms: int = 6
    views: int = 36
    steps: int = 300
    first_seed: int = 100_000

    def __post_init__(self) -> None:
        for name in ("train_rooms", "test_rooms", "views", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, _ = parse_settings(DemoSettings, argv, EXAMPLES)
    with command("geoguide3d demo"):
        began, rooms = time.perf_counter(), settings.output / "rooms"
        with _stage(f"make {settings.train_rooms} rooms to learn from and {settings.test_rooms} held-out rooms"):
            train = _make(settings, settings.train_rooms, "train", rooms)
            test = _make(settings, settings.test_rooms, "test", rooms)
            with atomic_file(settings.output / "train.txt") as path:
                path.write_text("".join(f"{room.name}\n" for room in train))
        school = _School(settings, rooms)
        with _stage(
            "distil: fuse RoomCLIP's features of the frames, find superpoints and instances, teach the adapter"
        ):
            model = school.model("model", "room_net_with_descriptors", "recommended")
        with _stage("distil: the same lessons, every point by itself"):
            plain = school.model("model_plain", "room_net_with_descriptors", "plain")
        with _stage("distil: an adapter on handcrafted descriptors alone"):
            handcrafted = school.model("model_descriptors", "descriptors", "recommended")
        del school
        scenes = [with_up(read_scene(rooms / room.name), UP) for room in test]
        with _stage("measure (a): fused RoomCLIP features of the held-out rooms' frames"):
            scores = {"(a) fused 2D features, with images": _score_fused(scenes, model)}
        with _stage("measure (b), (c), (d): the adapters on the held-out rooms' points alone"):
            encoded, answers = _encode(scenes, model, plain)
            unseen = [None] * len(scenes)
            scores["(b) GeoGuide, without images"] = _score(scenes, encoded, unseen, model)
            scores["(c) the same, plainly distilled"] = _score(scenes, answers, unseen, plain)
            answers = [handcrafted.encode(scene) for scene in scenes]
            scores["(d) (b) without RoomNet"] = _score(scenes, answers, unseen, handcrafted)
        _print_scores(scores)
        with _stage("ask a held-out room"):
            written = _ask(test, scenes, encoded, model, settings.output / "answers")
        print(f"{time.perf_counter() - began:.0f} s in all. Look at:")
        for path in [*written, settings.output / "model", rooms]:
            print(f"    {path}")
    return 0


@contextmanager
def _stage(name: str) -> Iterator[None]:
    print(name, flush=True)
    began = time.perf_counter()
    yield
    print(f"    {time.perf_counter() - began:.1f} s", flush=True)


def _make(settings: DemoSettings, count: int, split: Split, parent: Path) -> list[Room]:
    rooms = [make_room(settings.first_seed + index, split) for index in range(count)]
    for room in rooms:
        write_room(room, parent, settings.views)
    return rooms


class _School:
    """Distils models on the training rooms; what two of them share is computed once."""

    def __init__(self, settings: DemoSettings, rooms: Path) -> None:
        self._settings, self._rooms = settings, rooms
        self._fused: dict[Path, FusedFeatures] = {}
        self._course: tuple[str, Course | None] = ("", None)

    def model(self, name: str, backbone: str, preset: str) -> GeoGuide:
        """Returns a model of that name."""
        settings, folder = self._settings, self._settings.output / name
        options: dict[str, object] = {"scene-list": settings.output / "train.txt", "data-root": self._rooms}
        options |= {"output": folder, "up": ",".join(map(str, UP.tolist())), "preset": preset}
        options |= {"backbone.name": backbone, "superpoints.min-size": SMALLEST_SUPERPOINT}
        options |= {"training.steps": settings.steps, "training.points-per-step": POINTS_PER_STEP}
        options["training.learning-rate"] = LEARNING_RATE
        words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        parsed, resolved = parse_settings(DistillSettings, words)
        text, processes = load_text_encoder(parsed.text), Processes(parsed.training.device)

        def course() -> Course:
            if self._course[0] != backbone:
                self._course = ("", None)  # frees the features of the one before
                teachers = partial(self._remembered, teacher_of(parsed, text))
                self._course = (backbone, read_course(parsed, text, teachers, processes))
            assert self._course[1] is not None  # set above
            return self._course[1]

        print(f"    {make_model(parsed, resolved, text, course, processes)}")
        return GeoGuide.from_pretrained(folder)

    def _remembered(self, teachers: TeacherOf, files: SceneFiles) -> Teacher:
        def teach(scene: Scene, views: Sequence[View]) -> FusedFeatures:
            if files.points not in self._fused:
                self._fused[files.points] = teachers(files)(scene, views)
            return self._fused[files.points]

        return teach


def _encode(scenes: Sequence[Scene], model: GeoGuide, other: GeoGuide) -> tuple[list[Tensor], list[Tensor]]:
    """Returns what two models of one backbone say of the scenes, each of which the backbone sees once."""
    said: list[tuple[Tensor, Tensor]] = []
    for scene in scenes:
        geometry = model.backbone.encode(scene)
        said.append((model.adapt(geometry), other.adapt(geometry)))
    return [first for first, _ in said], [second for _, second in said]


def _print_scores(scores: Mapping[str, Scores]) -> None:
    print(f"    over {len(CATEGORIES)} categories   mIoU   mean accuracy")
    for name, score in scores.items():
        print(f"    {name:<36} {100 * score.mean_iou:5.1f} %  {100 * score.mean_accuracy:5.1f} %")
    _, full, plain, handcrafted = (100 * score.mean_iou for score in scores.values())
    print(f"    GeoGuide's losses instead of plain distillation: mIoU {full - plain:+.1f} points")
    print(f"    RoomNet beside handcrafted descriptors instead of these alone: mIoU {full - handcrafted:+.1f} points")


def _score_fused(scenes: Sequence[Scene], model: GeoGuide) -> Scores:
    encoder = RoomClipImageEncoder.load()
    fused = []
    for scene in scenes:
        assert scene.source is not None  # read from a file
        fused.append(fuse_views(scene, open_posed_folder(scene.source.parent), encoder))
    return _score(scenes, [item.features for item in fused], [item.seen for item in fused], model)


def _score(
    scenes: Sequence[Scene], features: Sequence[Tensor], known: Sequence[Tensor | None], model: GeoGuide
) -> Scores:
    classes = model.text_vectors([class_prompt(category, model.config.prompt_template) for category in CATEGORIES])
    matrix = ConfusionMatrix(len(CATEGORIES))
    for scene, rows, seen in zip(scenes, features, known, strict=True):
        assert scene.labels is not None  # rooms are written with labels
        matrix.add(nearest_class(rows, classes, seen), scene.labels)
    return matrix.scores()


def _questions(room: Room) -> dict[str, list[int]]:
    """Returns up to five prompts and the instances that answer them; a held-out pair comes first."""
    pairs = {f"a {o.color} {o.category}": o for o in room.objects if is_held_out(o.category, o.color)}
    asked = {text: [o.instance for o in room.objects if (o.category, o.color) == (pair.category, pair.color)]
             for text, pair in list(pairs.items())[:1]}  # fmt: skip
    for text, categories in MEANINGS.items():
        if answers := [o.instance for o in room.objects if o.category in categories]:
            asked[text] = answers
    return dict(list(asked.items())[:5])


def _ask(
    rooms: Sequence[Room], scenes: Sequence[Scene], encoded: Sequence[Tensor], model: GeoGuide, output: Path
) -> list[Path]:
    chosen = max(range(len(rooms)), key=lambda index: len(_questions(rooms[index])))
    questions, scene = _questions(rooms[chosen]), scenes[chosen]
    result = model.query(encoded[chosen], list(questions))
    assert scene.instances is not None  # rooms are written with instances
    print(f"    {scene.name}")
    for k, (text, instances) in enumerate(questions.items()):
        truth, mask = (
            scene.instances.unsqueeze(1).eq(scene.instances.new_tensor(instances)).any(dim=1),
            result.masks[:, k],
        )
        overlap, union = int((truth & mask).sum()), int((truth | mask).sum())
        print(f"    {text:<28} {int(mask.sum()):7,} points, IoU with the truth {100 * overlap / max(union, 1):5.1f} %")
    return export_answer(output, scene, result, {"model": str(model.folder)})
