"""GeoGuide: features, cosines, the mask rule with its negatives, and what does not fit together."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from geoguide3d.backbones.cached import EncodingSettings
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.weights import BackboneRecord
from geoguide3d.distillation.adapter import Adapter
from geoguide3d.query.config import MaskRule
from geoguide3d.query.model import MODEL_FILES, GeoGuide, save_model
from geoguide3d.scenes.scene import Scene

SCENE = Scene(torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)))

QUERY = """
import sys, torch
from geoguide3d import GeoGuide, Scene
model = GeoGuide.from_pretrained(sys.argv[1])
model.query(Scene(torch.rand(500, 3), up=torch.tensor([0.0, 0.0, 1.0])), ["a chair"])
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def with_rule(model: GeoGuide, rule: MaskRule) -> GeoGuide:
    return GeoGuide(model.adapter, model.backbone, replace(model.config, mask_rule=rule), model.folder)


def test_folder_holds_exactly_the_model(model_folder: Path) -> None:
    assert sorted(path.name for path in model_folder.iterdir()) == sorted(MODEL_FILES)


def test_encode_is_the_adapter_of_the_backbone(model: GeoGuide) -> None:
    encoded = model.encode(SCENE)
    assert (encoded.shape, encoded.dtype, encoded.requires_grad) == ((20_000, 3), torch.float32, False)
    torch.testing.assert_close(encoded, model.adapter(SCENE.points).detach())


def test_query_of_a_scene_is_the_query_of_its_features(model: GeoGuide) -> None:
    of_scene, of_features = (model.query(asked, ["a chair", "couch"]) for asked in (SCENE, model.encode(SCENE)))
    assert torch.equal(of_scene.scores, of_features.scores)
    assert torch.equal(of_scene.labels, of_features.labels)
    assert of_scene.labels.unique().tolist() == [-1, 0, 1]


def test_scores_are_cosines_whatever_the_lengths(model: GeoGuide) -> None:
    features = torch.tensor([[5.0, 0, 0], [0, 0.1, 0.1], [0, 0, 0]])
    scores = model.query(features, ["chair", "couch"]).scores
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0], [0, 0.5**0.5], [0, 0]]))


def test_a_negative_is_not_used_against_what_means_the_same(model: GeoGuide) -> None:
    on_the_couch, on_the_floor = [0.0, 1.0, 0.0], [0.0, 0.3, 1.0]
    features = torch.tensor([on_the_couch, on_the_floor])
    assert model.query(features, ["loveseat"]).masks.tolist() == [[True], [False]]  # loses to the floor alone
    strict = with_rule(model, replace(model.config.mask_rule, same_meaning_cosine=0.99))
    assert strict.query(features, ["loveseat"]).masks.tolist() == [[False], [False]]  # loses to the couch too


def test_threshold_and_margin_decide(model: GeoGuide) -> None:
    features = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [0.3, 0.0, -0.95]])
    masks = {
        rule: with_rule(model, rule).query(features, ["chair"]).masks.flatten().tolist()
        for rule in (
            MaskRule(),
            MaskRule(threshold=0.7),
            MaskRule(negatives=("couch",)),
            MaskRule(negatives=("couch",), margin=-0.3),
            MaskRule(threshold=0.5, negatives=("couch",), margin=0.3),
        )
    }
    expected = [[True] * 3, [True, False, False], [True, False, True], [True] * 3, [False] * 3]
    assert list(masks.values()) == expected


def test_the_threshold_of_the_text_space_is_the_default(model: GeoGuide, monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0]])
    asked = with_rule(model, MaskRule())
    monkeypatch.setattr(asked.text, "relevant_cosine", 0.75)
    assert asked.query(features, ["chair"]).masks.tolist() == [[True], [False]]


def test_each_prompt_is_encoded_once(model: GeoGuide, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    encode = model.text.encode_text
    monkeypatch.setattr(model.text, "encode_text", lambda prompts: (asked.extend(prompts), encode(prompts))[1])
    for prompts in (["chair", "couch", "chair"], ["couch"], ["loveseat", "chair"]):
        assert model.text_vectors(prompts).shape == (len(prompts), 3)
    assert asked == ["chair", "couch", "loveseat"]


@pytest.mark.parametrize("prompts", [[], [""], ["chair", "  "]])
def test_empty_prompts_are_refused(model: GeoGuide, prompts: list[str]) -> None:
    with pytest.raises(ValueError, match="a prompt is empty or missing"):
        model.query(SCENE, prompts)


def test_a_bare_string_is_not_a_list_of_letters(model: GeoGuide) -> None:
    with pytest.raises(ValueError, match="got the string 'chair'"):
        model.query(SCENE, "chair")


def test_an_unlisted_word_fails_before_the_scene_is_encoded(model: GeoGuide, backbone: Any) -> None:
    with pytest.raises(ValueError, match="'settee' is not among the 4 words"):
        model.query(SCENE, ["settee"])
    assert backbone.calls == 0


def test_features_of_another_width_are_refused(model: GeoGuide) -> None:
    with pytest.raises(ValueError, match=r"encoded features must be \(N, 3\), got \(5, 4\)"):
        model.query(torch.zeros(5, 4), ["chair"])


def test_a_backbone_of_another_width_is_refused(model_folder: Path, backbone: Any) -> None:
    backbone.channels = 5
    with pytest.raises(ValueError, match=r"config\.json: the adapter reads 3 channels, backbone 'points' gives 5"):
        GeoGuide.from_pretrained(model_folder, backbone)


def test_an_unknown_backbone_is_told(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="unknown backbone 'points'"):
        GeoGuide.from_pretrained(model_folder)


def test_another_text_space_is_refused(model: GeoGuide) -> None:
    config = replace(model.config, text={**model.config.text, "text_space": "roomclip-1"})
    other = GeoGuide(model.adapter, model.backbone, config, model.folder)
    with pytest.raises(ValueError, match="was taught text space roomclip-1, the text encoder has clip-vit-b-32/openai"):
        other.query(SCENE, ["chair"])


def test_a_query_imports_no_optional_third_party(tmp_path: Path, model: GeoGuide) -> None:
    record = BackboneRecord("descriptors", load_backbone("descriptors", {}, None).config)
    adapter = Adapter(load_backbone("descriptors", {}, None).channels, 3, hidden_channels=4)
    save_model(tmp_path, adapter, record, model.text, MaskRule(), "a {}")
    done = subprocess.run([sys.executable, "-c", QUERY, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"open_clip", "transformers", "timm", "open3d"}.isdisjoint(done.stdout.split())


def test_an_encoding_is_for_the_backbone_that_is_loaded(model: GeoGuide) -> None:
    with pytest.raises(ValueError, match="encoding was given beside the backbone"):
        GeoGuide.from_pretrained(model.folder, model.backbone, EncodingSettings())
