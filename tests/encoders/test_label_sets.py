from __future__ import annotations

import pytest
import torch

from geoguide3d.encoders.label_sets import LABEL_SETS, NUSCENES_16, OPENSCENE_TEMPLATE, SCANNET_20, LabelSet


@pytest.mark.parametrize("name", LABEL_SETS)
def test_names_are_as_many_as_the_set_says_and_differ(name: str) -> None:
    labels = LABEL_SETS[name].labels
    assert len(labels) == len(set(labels)) == int(name.rsplit("_", 1)[1])
    assert all(label == " ".join(label.split()).lower() and label for label in labels)


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("scannet_20", "otherfurniture"),
        ("matterport_21", "other"),
        ("matterport_40", "air vent"),
        ("matterport_80", "headboard"),
        ("matterport_160", "person"),
    ],
)
def test_one_prompt_is_the_bare_word_other(name: str, replaced: str) -> None:
    """`labelset[-2]` of Matterport and `labelset[-1]` of ScanNet (openscene `util/util.py`)."""
    labels = LABEL_SETS[name]
    ours, theirs = (labels.prompts(OPENSCENE_TEMPLATE, openscene_compat=compat) for compat in (False, True))
    assert ours == [f"a {label} in a scene" for label in labels.labels]
    changed = [row for row, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    assert [labels.labels[row] for row in changed] == [replaced]
    assert [theirs[row] for row in changed] == ["other"]
    assert changed == [len(labels) - (1 if name == "scannet_20" else 2)]


def test_spellings_of_published_numbers() -> None:
    assert {"refridgerator", "excercise equipment"} <= set(LABEL_SETS["matterport_160"].labels)
    assert "refrigerator" in SCANNET_20.labels
    assert LABEL_SETS["matterport_160"].labels[:80] == LABEL_SETS["matterport_80"].labels


def test_details_of_nuscenes_belong_to_their_classes() -> None:
    owner = {
        detail: NUSCENES_16.labels[label]
        for detail, label in zip(NUSCENES_16.details, NUSCENES_16.class_of_detail, strict=True)
    }
    assert len(owner) == 43
    mapping = [0] * 2 + [1, 2, 3] + [4] * 5 + [5] + [6] * 2 + [7] + [8] * 5 + [9, 10] + [11] * 3 + [12] + [13] * 6
    assert list(NUSCENES_16.class_of_detail) == mapping + [14] * 4 + [15] * 8  # MAPPING_NUSCENES_DETAILS
    assert {word: owner[word] for word in ("barricade", "crane", "pedestrian", "freight container", "road")} == {
        "barricade": "barrier",
        "crane": "construction vehicle",
        "pedestrian": "person",
        "freight container": "trailer",
        "road": "drivable surface",
    }
    assert {word: owner[word] for word in ("curb", "sidewalk", "sod", "awning", "woods")} == {
        "curb": "other flat",
        "sidewalk": "sidewalk",
        "sod": "terrain",
        "awning": "manmade",
        "woods": "vegetation",
    }
    prompts = NUSCENES_16.prompts(OPENSCENE_TEMPLATE, openscene_compat=True, detailed=True)
    assert prompts[1] == "a barricade in a scene"
    predicted = torch.tensor([0, 1, 42, -1, 256])
    assert NUSCENES_16.classes_of(predicted).tolist() == [0, 0, 15, -1, 256]


def test_details_are_asked_of_sets_that_have_them() -> None:
    with pytest.raises(ValueError, match="no details"):
        SCANNET_20.prompts("a {}", openscene_compat=False, detailed=True)
    finer = LabelSet(("thing", "rest"), bare_other=1, details=("cup", "jug"), class_of_detail=(0, 0))
    assert finer.prompts("a {}", openscene_compat=True, detailed=True) == ["a cup", "a jug"]
    assert finer.prompts("a {}", openscene_compat=True) == ["a thing", "other"]
    with pytest.raises(ValueError, match="has no"):
        LabelSet(("wall",)).prompts("a wall", openscene_compat=False)
