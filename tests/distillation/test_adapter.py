"""The adapter: its equation, its file, and how little it needs to be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geoguide3d.distillation.adapter import CONFIG_FILE, WEIGHTS_FILE, Adapter

ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        allowed = ("geoguide3d", "geoguide3d.distillation", "geoguide3d.distillation.adapter")
        ours = name.split(".")[0] == "geoguide3d" and name not in allowed
        if ours or name.split(".")[0] in ("scipy", "jsonargparse", "plyfile", "tqdm", "PIL", "open3d", "open_clip"):
            raise ModuleNotFoundError(f"as if {name} were not installed")

sys.meta_path.insert(0, Refuse())
import torch
from geoguide3d import Adapter
print(Adapter(4, 3, 8)(torch.zeros(5, 4)).shape[1], *Adapter.from_pretrained(sys.argv[1])(torch.ones(1, 4)).tolist()[0])
"""


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(3)
    adapter = Adapter(4, 3, hidden_channels=8)
    adapter.set_input_statistics(torch.arange(4.0), torch.tensor([1.0, 2.0, 0.0, 4.0]))
    return adapter


@pytest.fixture
def folder(adapter: Adapter, tmp_path: Path) -> Path:
    adapter.save_weights(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"adapter": adapter.sizes}))
    return tmp_path


def test_is_linear_norm_gelu_linear_on_standardised_inputs(adapter: Adapter) -> None:
    features = torch.randn(10, 4)
    standardised = (features - torch.arange(4.0)) / torch.tensor([1.0, 2.0, 1.0, 4.0])  # a constant channel keeps 1
    hidden = standardised @ adapter.expand.weight.T
    hidden = torch.nn.functional.gelu(torch.nn.functional.layer_norm(hidden, (8,)))
    torch.testing.assert_close(adapter(features), hidden @ adapter.project.weight.T)


def test_starts_small_without_bias_and_with_the_identity_on_inputs() -> None:
    adapter = Adapter(200, 100)
    assert adapter.expand.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert adapter.project.weight.shape == (100, 768)
    assert not adapter.expand.bias.any()
    assert not adapter.project.bias.any()
    assert not adapter.input_mean.any()
    assert bool((adapter.input_scale == 1).all())


def test_round_trip_is_bit_equal(adapter: Adapter, folder: Path) -> None:
    again = Adapter.from_pretrained(folder)
    assert again.sizes == adapter.sizes
    assert not again.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in adapter.state_dict().items())


def test_needs_torch_and_safetensors_alone(adapter: Adapter, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", *map(str, adapter(torch.ones(1, 4)).tolist()[0])]


@pytest.mark.parametrize("shape", [(5, 3), (4,), (2, 5, 4)])
def test_rejects_features_of_another_width(adapter: Adapter, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(N, 4\) features"):
        adapter(torch.zeros(shape))


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Adapter.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONFIG_FILE, "{", "not JSON"),
        (CONFIG_FILE, "[]", "expected a JSON object"),
        (CONFIG_FILE, "{}", "no usable adapter sizes"),
        (CONFIG_FILE, '{"adapter": {"inputs": 4}}', "no usable adapter sizes"),
        (WEIGHTS_FILE, "damaged", "does not hold the adapter"),
    ],
)
def test_damaged_file_is_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        Adapter.from_pretrained(folder)
    assert str(folder / name) in str(caught.value)


def test_weights_of_another_size_are_told(adapter: Adapter, folder: Path) -> None:
    (folder / CONFIG_FILE).write_text(json.dumps({"adapter": {**adapter.sizes, "in_channels": 5}}))
    with pytest.raises(
        ValueError, match=r"adapter\.safetensors: does not hold the adapter that config\.json describes"
    ):
        Adapter.from_pretrained(folder)
