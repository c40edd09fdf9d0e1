"""The recipe of seeded weights gives what the fixtures recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.backbones.seeded_weights import check, seeded_state_dict, seeded_values


@pytest.mark.parametrize("folder", ["sonata_tiny", "spunet_tiny"])
def test_recipe_gives_the_stored_tensors(shared_fixtures: Path, folder: str) -> None:
    _, state = seeded_state_dict(shared_fixtures / "backbones" / folder / "config.json")
    stored = load_file(shared_fixtures / "backbones" / folder / "params.safetensors")
    assert state.keys() == stored.keys()
    assert all(bool((state[name] == stored[name]).all()) for name in stored)


def test_other_values_fail_the_check() -> None:
    values = seeded_values("a.weight", 10, seed=1, offset=0.0, scale=1.0)
    doubles = values.astype("float64")
    entry = {"name": "a.weight", "first3": doubles[:3].tolist(), "sum": doubles.sum(), "sumsq": doubles @ doubles}
    check(entry, values)
    with pytest.raises(AssertionError):
        check(entry, values[::-1])
    with pytest.raises(AssertionError):
        check(entry, seeded_values("b.weight", 10, seed=1, offset=0.0, scale=1.0))
