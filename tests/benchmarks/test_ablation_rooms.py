"""The rooms of the ablation: keys of files that are there, and superpoints and masks made of those of a room."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ablation_study import rooms as rooms_module
from ablation_study.guidance import gaps, masks_of, superpoints_of
from ablation_study.report import write_part
from ablation_study.rooms import Plan, RoomData, thinned, with_channels, with_targets_of
from ablation_study.studies import Setting, backbones, styles
from ablation_study.teachers import SimulatedTeacher, Teacher
from ablation_study.voxels import Voxels
from ablation_study.whole_network import mirrored

from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.rooms.categories import CATEGORIES
from geoguide3d.scenes.scene import Scene

WALL, FLOOR, CHAIR, TABLE, LAMP = (CATEGORIES.index(name) for name in ("wall", "floor", "chair", "table", "lamp"))


def room(kind: str = "living_room", split: str = "train") -> RoomData:
    """Returns a room of 100 points in five instances of 20 along a line, each of two superpoints of 15 and 5."""
    instances = torch.arange(100) // 20
    superpoints = 2 * instances + (torch.arange(100) % 20 >= 15)
    places = torch.tensor([0, 100, 200, 230, 250])  # in cells: wall, floor, chair, table, lamp
    cells = torch.zeros(100, 3, dtype=torch.int16)
    cells[:, 0] = (places[instances] + torch.arange(100) % 20 // 4).to(torch.int16)
    return RoomData(
        name=f"{split}_200000_{kind}",
        features=torch.ones(100, 4, dtype=torch.float16),
        targets=torch.ones(100, 3, dtype=torch.float16),
        labels=torch.tensor([WALL, FLOOR, CHAIR, TABLE, LAMP])[instances],
        superpoints={"standard": superpoints},
        masks={"ground truth": PointMasks.from_labels(instances), "proposer": PointMasks.from_labels(instances // 2)},
        voxels=Voxels(torch.zeros(100, 8, dtype=torch.float16), cells, torch.arange(100, dtype=torch.int32)),
    )


def test_other_plans_have_other_keys() -> None:
    plans = [Plan(), Plan(validation=8), Plan(density=0.5), Plan(teacher=SimulatedTeacher(0.5))]
    assert len({plan.key for plan in plans}) == len(plans)


def test_rooms_that_are_there_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, ...]] = []
    monkeypatch.setattr(rooms_module, "make_room", lambda seed, split: pytest.fail("a room was made again"))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        rooms_module._make(tmp_path, Plan(), False, ("test", 200_000))
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    for plan in (Plan(), Plan(density=0.5), Plan(teacher=SimulatedTeacher(0.5))):
        made.append(tuple(rooms_module._make(tmp_path, plan, True, ("test", 200_000))))
    first, sparse, simulated = made
    assert not {*first} & {*sparse}
    assert {*first} < {*simulated} and len(simulated) == 3  # the targets alone are another teacher's


def test_kind_is_the_layout() -> None:
    assert room("angled_living_room").kind == "angled living room"


def test_over_segmented_masks_are_superpoints_of_ten_points() -> None:
    masks = masks_of(room(), "over-segmented")
    assert masks.sizes.tolist() == [15] * 5
    assert masks.point_ids[:15].tolist() == list(range(15))


def test_under_segmented_masks_are_the_shell_and_pairs_of_near_things() -> None:
    masks = masks_of(room(), "under-segmented")
    assert [sorted({point // 20 for point in list_}) for list_ in _lists(masks)] == [[0, 1], [2], [3, 4]]


def test_under_segmented_masks_need_to_know_where_points_lie() -> None:
    with pytest.raises(ValueError, match="prepare the rooms with"):
        masks_of(replace(room(), voxels=None), "under-segmented")


def test_gaps_are_least_distances() -> None:
    cells = torch.tensor([[0, 0, 0], [3, 0, 0], [7, 0, 0], [7, 4, 0]])
    expected = torch.tensor([[0.0, 4.0], [4.0, 0.0]])
    torch.testing.assert_close(gaps(cells, torch.tensor([0, 0, 1, 1])), expected)


def test_true_instances_as_superpoints() -> None:
    assert torch.equal(superpoints_of(room(), "ground truth"), torch.arange(100) // 20)
    assert superpoints_of(room(), "standard").max() == 9


def test_shuffled_masks_keep_their_sizes_and_move() -> None:
    made, proposed = masks_of(room(), "shuffled"), room().masks["proposer"]
    assert torch.equal(made.sizes, proposed.sizes) and not torch.equal(made.point_ids, proposed.point_ids)


def test_a_thinned_scene_keeps_whole_rows() -> None:
    points = torch.arange(300, dtype=torch.float32).view(100, 3)
    scene = thinned(Scene(points=points, labels=torch.arange(100)), 0.5)
    assert len(scene) == 50 and scene.labels is not None
    torch.testing.assert_close(scene.points, points[scene.labels])


def test_a_sparser_room_has_the_teacher_of_its_own_points_and_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = torch.arange(300, dtype=torch.float32).view(100, 3)
    given = []
    fake = SimpleNamespace(scene=lambda: Scene(points=points))
    monkeypatch.setattr(rooms_module, "make_room", lambda seed, split: fake)
    monkeypatch.setattr(Teacher, "fuse", lambda self, room, views: points)
    monkeypatch.setattr(rooms_module, "_content", lambda *content: given.append(content) or {})
    files = [rooms_module._make(tmp_path, Plan(density=share), False, ("test", 7)) for share in (1.0, 0.5)]
    assert [len(scene) for scene, _, _ in given] == [100, 50] and files[0] != files[1]
    for scene, fused, kept in given:
        assert torch.equal(scene.points, fused) and kept == 12_000


def test_other_targets_share_the_rest() -> None:
    base = {"train": [room()]}
    taught = with_targets_of(base, {"train": [replace(room(), targets=torch.zeros(100, 3))]})
    assert float(taught["train"][0].targets.abs().max()) == 0
    assert taught["train"][0].features is base["train"][0].features


def test_a_part_of_the_channels_shares_the_rest() -> None:
    whole = room()
    made = with_channels({"test": [whole]}, slice(1, 3))["test"][0]
    assert made.features.shape == (100, 2) and len(made.targets) == 100
    assert made.targets is whole.targets


def test_backbones_split_the_channels_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    both = replace(room(), features=torch.arange(487, dtype=torch.float16).expand(100, 487))
    monkeypatch.setattr(Setting, "rooms", lambda self, plan=None, with_voxels=False: {"train": [both]})
    study = backbones(Setting(Plan(), 10, 10, 1, Path(), 1))
    seen = {name: case.rooms["train"][0].features[0].tolist() for name, case in study.cases.items()}
    assert seen["full, RoomNet"] + seen["full, descriptors"] == seen["full, both"] == list(range(487))
    assert len({repr(case.course) for case in study.cases.values()}) == 3


def test_mirrored_voxels_keep_distances_and_turn_normals_with_them() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(20, (30, 3), generator=generator).to(torch.int16)
    values = torch.zeros(30, 8, dtype=torch.float16)
    values[:, 3:6] = cells  # so that normals must go where places go, up to sign and shift
    voxels = Voxels(values, cells, torch.arange(30, dtype=torch.int32))
    ways = set()
    for _ in range(40):
        made = mirrored(voxels, generator)
        steps, normals = made.cells.float().diff(dim=0), made.values[:, 3:6].float().diff(dim=0)
        torch.testing.assert_close(steps, normals)
        torch.testing.assert_close(steps.norm(dim=1), cells.float().diff(dim=0).norm(dim=1))
        ways.add(tuple(steps[:2].flatten().tolist()))
    assert len(ways) == 8
    assert torch.equal(voxels.values[:, 3:6], cells.to(torch.float16))  # the room's own are left as they are


def test_styles_learn_from_as_many_rooms_of_either_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("kitchen", "bathroom", "kitchen", "office", "bedroom")
    found = {split: [room(kind, split) for kind in kinds] for split in ("train", "validation", "test")}
    monkeypatch.setattr(Setting, "rooms", lambda self, plan=None, with_voxels=False: found)
    study = styles(Setting(Plan(), 10, 10, 1, Path(), 1))
    wet, dry = (study.cases[f"full, {kind} to dry"] for kind in ("wet", "dry"))
    assert [one.kind for one in wet.rooms["train"]] == ["kitchen", "bathroom"]
    assert [one.kind for one in dry.rooms["train"]] == [one.kind for one in wet.rooms["test"]] == ["office", "bedroom"]
    assert len({repr(case.course) for case in study.cases.values()}) == 4  # wet, dry, all, sparser


def test_a_part_of_the_page_takes_the_place_of_its_last_version(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Ablation\n\nBefore.\n")
    for name, lines in (("masks", ["one"]), ("styles", ["two"]), ("masks", ["three", "four"])):
        write_part(page, name, lines)
    text = page.read_text()
    assert text.startswith("# Ablation\n\nBefore.\n") and "one" not in text
    assert text.index("three\nfour") < text.index("two") and text.count("<!-- masks:") == 1


def _lists(masks: PointMasks) -> list[list[int]]:
    ids, offsets = masks.point_ids.tolist(), masks.offsets.tolist()
    return [ids[start:end] for start, end in pairwise(offsets)]
