"""Sizes of published networks, read from a config or from shapes alone."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from geoguide3d.backbones.ptv3.config import CONCERTO_LARGE, SONATA, UTONIA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder


def test_widths_of_the_published_sizes() -> None:
    assert [SONATA.channels_from(level) for level in (0, 2)] == [1232, 1088]
    assert CONCERTO_LARGE.channels_from(0) == 1728
    assert UTONIA.channels_from(0) == 1386


@pytest.mark.parametrize("size", [SONATA, CONCERTO_LARGE, UTONIA, replace(SONATA, mask_token=False, qkv_bias=False)])
def test_published_sizes_are_seen_from_shapes(size: PTv3Config) -> None:
    with torch.device("meta"):
        state = PTv3Encoder(size).state_dict()
    assert PTv3Config.from_shapes(state) == size


@pytest.mark.parametrize("base", [None, 0, 10])
def test_rotary_attention_is_read_from_the_config(base: float | None) -> None:
    config = asdict(UTONIA) | {"rope_base": base, "shift_coords": None, "jitter_coords": 1.1, "rescale_coords": 1.2}
    assert PTv3Config.from_upstream(config).rope_base == (10 if base else None)


@pytest.mark.parametrize("change", [{"rope_base": -1.0}, {"enc_num_head": (2, 6, 12, 24, 32)}])
def test_rejects_rotary_attention_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rotary attention needs a base above 0 and heads of 6, 12, 18"):
        PTv3Config(**{**asdict(UTONIA), **change})
