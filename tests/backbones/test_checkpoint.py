"""Checkpoints: what is read, what is refused, and what the messages say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from geoguide3d.backbones.checkpoint import Checkpoint, load_parameters, read_checkpoint

CONFIG = {"enc_depths": [1, 2], "order": ["z", "hilbert"], "mask_token": True}


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("a checkpoint ran code",))


class Odd(dict[str, object]):
    """Holds nothing but plain values, and is yet no plain dictionary."""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


@pytest.mark.parametrize("kind", ["pth", "bare.pth", "safetensors"])
def test_what_was_saved_is_read(tmp_path: Path, kind: str) -> None:
    state, path = network().state_dict(), tmp_path / f"net.{kind}"
    if kind == "safetensors":
        save_file(state, path, metadata={"config": json.dumps(CONFIG)})
    elif kind == "bare.pth":
        torch.save(state, path)
    else:
        torch.save({"config": CONFIG, "state_dict": state}, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == (None if kind == "bare.pth" else CONFIG)
    assert checkpoint.state_dict.keys() == state.keys()
    assert all(torch.equal(checkpoint.state_dict[name], state[name]) for name in state)


def test_safetensors_without_config(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "net.safetensors")
    assert read_checkpoint(tmp_path / "net.safetensors").config is None


def test_code_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save({"config": Payload(), "state_dict": network().state_dict()}, path)
    with pytest.raises(ValueError, match=r"net\.pth is refused.*convert it once: .*weights_only=False"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x00" * 100])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_checkpoint(tmp_path / name)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"net\.pth"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "holds no parameters, but epoch"),
        ({"state_dict": [1]}, "state_dict is a list"),
        ({"config": [1], "state_dict": {}}, "config is a list"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "net.pth")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"net\.pth does not exist"):
        read_checkpoint(tmp_path / "net.pth")


def test_parameters_are_loaded_as_float32() -> None:
    state = {name: value.half() for name, value in network().state_dict().items()}
    with torch.device("meta"):
        loaded = network()
    load_parameters(loaded, Checkpoint(Path("net.pth"), state, None))
    assert loaded[0].weight.dtype == torch.float32
    assert torch.equal(loaded[0].weight, state["0.weight"].float())


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "backbone.",
        "module.backbone.",
        "student.backbone.",
        "module.student.backbone.",
        "net3d.",
        "model.",
    ],
)
def test_the_network_is_found_among_what_training_keeps(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = network().state_dict()
    state = {prefix + name: value for name, value in expected.items()}
    if "student" in prefix:
        state |= {name.replace("student", "teacher"): value + 1 for name, value in state.items()}
        state[f"{prefix.removesuffix('backbone.')}mask_head.weight"] = torch.zeros(2)
    elif "backbone" in prefix:
        state[f"{prefix.removesuffix('backbone.')}seg_head.weight"] = torch.zeros(2)
    loaded = network()
    loaded.requires_grad_(False)[0].weight.zero_()
    with caplog.at_level("INFO"):
        load_parameters(loaded, Checkpoint(Path("net.pth"), state, None))
    assert all(torch.equal(loaded.state_dict()[name], expected[name]) for name in expected)
    assert ("_head.weight" in caplog.text) == ("backbone" in prefix)


def test_names_inside_a_wrapper_are_checked_too() -> None:
    state = {f"module.backbone.{name}": value for name, value in network().state_dict().items()}
    state["module.backbone.dec.weight"] = state.pop("module.backbone.1.bias")
    with pytest.raises(ValueError, match=r"3 of 4 names .*: it lacks 1\.bias; .*does not know dec\.weight"):
        load_parameters(network(), Checkpoint(Path("net.pth"), state, None))


def test_numbers_of_numpy_beside_the_parameters_are_read(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"state_dict": state, "epoch": np.int64(3), "best_metric_value": np.float64(0.75)}, tmp_path / "net.pth")
    assert read_checkpoint(tmp_path / "net.pth").state_dict.keys() == state.keys()


def test_the_advice_converts_what_was_refused(tmp_path: Path) -> None:
    path, new_path = tmp_path / "net.pth", tmp_path / "new.pth"
    state = network().state_dict()
    for content in ({"config": Odd(CONFIG), "state_dict": state}, {"state_dict": Odd(state)}, Odd(state)):
        torch.save(content, path)
        with pytest.raises(ValueError, match="convert it once: ") as told:
            read_checkpoint(path)
        exec(str(told.value).split("convert it once: ")[1], {"torch": torch, "path": path, "new_path": new_path})
        converted = read_checkpoint(new_path)
        assert converted.config == (CONFIG if "config" in content else None)
        assert converted.state_dict.keys() == state.keys()


def test_every_difference_is_named() -> None:
    state = network().state_dict()
    state["0.weight"] = torch.zeros(4, 5)
    state["1.bias"][2] = float("nan")
    state["head.weight"] = state.pop("1.weight")
    with pytest.raises(ValueError, match=r"net\.pth does not fit Sequential \(3 of 4 names") as told:
        load_parameters(network(), Checkpoint(Path("net.pth"), state, None))
    for part in ("lacks 1.weight", "know head.weight", r"0.weight is (4, 5), not (4, 3)", "inf or NaN in 1.bias"):
        assert part in str(told.value)


def test_long_lists_are_counted() -> None:
    big = nn.Sequential(*[nn.Linear(1, 1) for _ in range(10)])
    with pytest.raises(ValueError, match=r"lacks 0\.bias, .* and 14 more; it|lacks 0\.bias, .* and 14 more\. Is"):
        load_parameters(big, Checkpoint(Path("net.pth"), {}, None))
