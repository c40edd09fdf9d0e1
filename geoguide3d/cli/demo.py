"""Make rooms, distil RoomCLIP on some of them, ask the others questions in words, and see how well it went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.cli import distill
from geoguide3d.cli.distill_settings import DistillSettings
from geoguide3d.cli.settings import command, parse_settings
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

EXAMPLES = """examples:
  geoguide3d demo --output outputs/demo
  geoguide3d demo --output outputs/small --train-rooms 2 --test-rooms 1 --views 12 --steps 100
"""
POINTS_PER_STEP, SCENES_PER_STEP = 4_000, 4
Fused = dict[Path, FusedFeatures]
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
    steps: int = 600
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
        teachings: Fused = {}
        with _stage("distil: fuse RoomCLIP's features of the frames and teach the adapter on RoomNet and descriptors"):
            model = _distil(settings, rooms, "model", "room_net_with_descriptors", teachings)
        with _stage("distil: the same features, an adapter on handcrafted descriptors alone"):
            plain = _distil(settings, rooms, "model_descriptors", "descriptors", teachings)
        teachings.clear()
        scenes = [with_up(read_scene(rooms / room.name), UP) for room in test]
        with _stage("measure (a): fused RoomCLIP features of the held-out rooms' frames"):
            fused = _score_fused(scenes, model)
        with _stage("measure (b): the adapter on the held-out rooms' points alone"):
            encoded = [model.encode(scene) for scene in scenes]
            adapter = _score(scenes, encoded, [None] * len(scenes), model)
        with _stage("measure (c): the same for the adapter on descriptors alone"):
            handcrafted = _score(scenes, [plain.encode(scene) for scene in scenes], [None] * len(scenes), plain)
        _print_scores(fused, adapter, handcrafted)
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


def _distil(settings: DemoSettings, rooms: Path, model: str, backbone: str, fused: Fused) -> GeoGuide:
    """Returns a model of that name on that backbone; what `fused` holds is not fused again."""
    folder = settings.output / model
    options: dict[str, object] = {"scene-list": settings.output / "train.txt", "data-root": rooms, "output": folder}
    options |= {"up": ",".join(map(str, UP.tolist())), "training.steps": settings.steps, "backbone.name": backbone}
    options |= {"training.points-per-step": POINTS_PER_STEP, "training.scenes-per-step": SCENES_PER_STEP}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    parsed, resolved = parse_settings(DistillSettings, words)
    text = load_text_encoder(parsed.text)
    teachers = distill.teacher_of(parsed, text)

    def remembered(files: SceneFiles) -> Teacher:
        def teach(scene: Scene, views: Sequence[View]) -> FusedFeatures:
            if files.points not in fused:
                fused[files.points] = teachers(files)(scene, views)
            return fused[files.points]

        return teach

    print(f"    {distill.make_model(parsed, resolved, text, remembered)}")
    return GeoGuide.from_pretrained(folder)


def _print_scores(fused: Scores, room_net: Scores, descriptors: Scores) -> None:
    print(f"    over {len(CATEGORIES)} categories   mIoU   mean accuracy")
    rows = {
        "(a) fused 2D features, with images": fused,
        "(b) adapter, without images": room_net,
        "(c) the same without RoomNet": descriptors,
    }
    for name, scores in rows.items():
        print(f"    {name:<36} {100 * scores.mean_iou:5.1f} %  {100 * scores.mean_accuracy:5.1f} %")
    change = 100 * (room_net.mean_iou - descriptors.mean_iou)
    print(f"    RoomNet beside handcrafted descriptors instead of these alone: mIoU {change:+.1f} points")


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
