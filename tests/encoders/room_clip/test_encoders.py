"""What the shipped weights must do: these tests judge the embedded model, not a toy."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from torch import Tensor

from geoguide3d.encoders.protocols import ImageEncoder, Teacher2D, TextEncoder
from geoguide3d.encoders.room_clip import RoomClipImageEncoder, RoomClipTextEncoder
from geoguide3d.scenes.rooms import CATEGORIES


@pytest.fixture(scope="module")
def texts() -> RoomClipTextEncoder:
    return RoomClipTextEncoder.load()


@pytest.fixture(scope="module")
def images() -> RoomClipImageEncoder:
    return RoomClipImageEncoder.load()


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)


def test_both_halves_keep_their_protocols(images: RoomClipImageEncoder, texts: RoomClipTextEncoder) -> None:
    assert isinstance(images, ImageEncoder)
    assert isinstance(texts, TextEncoder)
    assert images.text_space == texts.text_space == "roomclip-1"
    assert images.channels == texts.channels
    assert images.reads_images
    assert texts.relevant_cosine is not None
    assert 0.1 < texts.relevant_cosine < 0.9


def test_the_content_is_that_of_the_weights(images: RoomClipImageEncoder) -> None:
    assert isinstance(images, Teacher2D)
    changed = RoomClipImageEncoder.load()
    assert changed.content(["a"]) == images.content(["b"])
    with torch.no_grad():
        next(changed._network.parameters()).view(-1)[0] += 1e-3
    assert changed.content(["a"]) != images.content(["a"])


def test_texts_are_unit_rows(texts: RoomClipTextEncoder) -> None:
    vectors = texts.encode_text([f"a {category}" for category in CATEGORIES])
    assert vectors.shape == (len(CATEGORIES), texts.channels)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(len(CATEGORIES)))


@pytest.mark.parametrize(
    ("synonym", "category"),
    [
        ("couch", "sofa"),
        ("settee", "sofa"),
        ("fridge", "refrigerator"),
        ("trash can", "bin"),
        ("cupboard", "cabinet"),
        ("pillow", "cushion"),
        ("houseplant", "plant"),
        ("bookcase", "shelf"),
        ("carpet", "rug"),
        ("washbasin", "sink"),
    ],
)
def test_a_synonym_lies_nearest_to_its_category(texts: RoomClipTextEncoder, synonym: str, category: str) -> None:
    categories = texts.encode_text([f"a {name}" for name in CATEGORIES])
    cosines = categories @ texts.encode_text([f"a {synonym}"])[0]
    assert CATEGORIES[int(cosines.argmax())] == category


def test_order_and_colors_matter(texts: RoomClipTextEncoder) -> None:
    red_chair, rephrased, blue_chair, red_table = texts.encode_text(
        ["a red chair", "a chair that is red", "a blue chair", "a red table"]
    )
    assert float(red_chair @ rephrased) > float(red_chair @ blue_chair)
    assert float(red_chair @ rephrased) > float(red_chair @ red_table)
    forwards, backwards = texts.encode_text(["a paper box", "box paper"])
    assert not torch.allclose(forwards, backwards, atol=1e-3)


@pytest.mark.parametrize(
    ("purpose", "category"),
    [
        ("something to sit on", "chair"),
        ("a seat", "chair"),
        ("something to sleep on", "bed"),
        ("a place to wash hands", "sink"),
        ("a place to throw trash", "bin"),
        ("something that gives light", "lamp"),
        ("something to read", "book"),
    ],
)
def test_a_purpose_lies_nearest_to_what_serves_it(texts: RoomClipTextEncoder, purpose: str, category: str) -> None:
    cosines = texts.encode_text([f"a {name}" for name in CATEGORIES]) @ texts.encode_text([purpose])[0]
    assert CATEGORIES[int(cosines.argmax())] == category


def test_spelling_variants_are_the_same_prompt(texts: RoomClipTextEncoder) -> None:
    first, second = texts.encode_text(["A red  CHAIR!", "a red chair"])
    assert torch.allclose(first, second, atol=1e-6)


def test_same_prompt_same_vector_in_any_batch(texts: RoomClipTextEncoder) -> None:
    prompts = ["a chair", "something to sit on in the room", "red", "a wooden table"]
    together = texts.encode_text(prompts)
    assert torch.equal(together, texts.encode_text(prompts))
    alone = torch.cat([texts.encode_text([prompt]) for prompt in prompts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_known_words_give_no_warning(texts: RoomClipTextEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts.encode_text(["a photo of a red leather sofa in a room", "something to sit on"])


def test_unknown_words_are_named_in_one_warning(texts: RoomClipTextEncoder) -> None:
    with pytest.warns(UserWarning, match="never saw the words") as caught:
        texts.encode_text(["a toaster", "a red zebra", "a toaster oven", "a chair"])
    assert len(caught) == 1
    assert str(caught[0].message).startswith("RoomCLIP never saw the words 'toaster', 'zebra': ")
    assert caught[0].filename == __file__


def test_a_prompt_too_long_warns_and_reads_its_start(texts: RoomClipTextEncoder) -> None:
    with pytest.warns(UserWarning, match=r"reads the first 16 words of a prompt, and .* has 17"):
        (long,) = texts.encode_text(["a red " * 8 + "chair"])
    assert torch.allclose(long, texts.encode_text(["a red " * 8])[0], atol=1e-5)


@pytest.mark.parametrize("prompts", [[], [""], ["a chair", "   "], ["?!"]])
def test_rejects_prompts_without_words(texts: RoomClipTextEncoder, prompts: list[str]) -> None:
    with pytest.raises(ValueError, match="prompt"):
        texts.encode_text(prompts)


@pytest.mark.parametrize("size", [(240, 320), (241, 317), (360, 540), (97, 61), (8, 400), (1, 1)])
def test_maps_of_any_image_size(images: RoomClipImageEncoder, size: tuple[int, int]) -> None:
    (features,) = images.encode_images([noise(*size)], ["frame"])
    height, width, channels = features.shape
    assert channels == images.channels
    assert features.dtype == torch.float32
    assert bool(torch.isfinite(features).all())
    assert torch.allclose(features.norm(dim=2), torch.ones(height, width), atol=1e-4)
    if min(size) > 50:
        assert abs(height / width - size[0] / size[1]) < 0.06 * size[0] / size[1]
        assert 3000 < height * width < 5000


def test_an_image_is_encoded_the_same_in_any_batch(images: RoomClipImageEncoder) -> None:
    first, second = noise(120, 160), noise(90, 200)
    together = images.encode_images([first, second], ["a", "b"])
    assert torch.equal(together[0], images.encode_images([first], ["a"])[0])
    assert torch.equal(together[1], images.encode_images([second], ["b"])[0])


@pytest.mark.parametrize("wrong", [None, torch.zeros(4, 4, 3), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_rejects_what_is_no_image(images: RoomClipImageEncoder, wrong: Tensor | None) -> None:
    with pytest.raises(ValueError, match=r"frame_7: RoomCLIP needs an image of \(H, W, 3\) uint8"):
        images.encode_images([wrong], ["frame_7"])


def test_a_query_imports_no_heavy_library() -> None:
    code = (
        "import sys; from geoguide3d.encoders.room_clip import RoomClipTextEncoder as E; "
        "E.load().encode_text(['a red chair']); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert {"torch", "safetensors"} <= loaded
    assert not loaded & {"open_clip", "transformers", "timm", "open3d", "spconv", "viser", "plyfile", "PIL", "scipy"}
