"""weights: the order of the places, and errors that name file, value and cure."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geoguide3d.backbones.weights import BackboneRecord, find_weights

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def record(**config: Any) -> BackboneRecord:
    return BackboneRecord("net", config=config, sha256=SHA256, licence="Apache-2.0", file="net.pth")


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOGUIDE3D_WEIGHTS", raising=False)


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[dict[str, str]]:
    asked: list[dict[str, str]] = []

    def hf_hub_download(**request: str) -> str:
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    return asked


def test_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argument, configured = written(tmp_path / "a.pth"), written(tmp_path / "c.pth")
    in_folder, on_hub = written(tmp_path / "folder" / "net.pth"), written(tmp_path / "hub.pth")
    asked = fake_hub(monkeypatch, on_hub)
    assert find_weights(record(hub="some/net")) == on_hub
    assert asked == [{"repo_id": "some/net", "filename": "net.pth"}]
    monkeypatch.setenv("GEOGUIDE3D_WEIGHTS", str(in_folder.parent))
    assert find_weights(record(hub="some/net")) == in_folder
    assert find_weights(record(hub="some/net", weights=str(configured))) == configured
    assert find_weights(record(hub="some/net", weights=str(configured)), argument) == argument
    assert len(asked) == 1


def test_a_wrong_hash_names_the_file_and_both_hashes(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="sha256") as error:
        find_weights(record(), other)
    for part in (str(other), SHA256, hashlib.sha256(b"other weights").hexdigest()):
        assert part in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE3D_WEIGHTS", str(written(tmp_path / "net.pth").parent))
    with pytest.raises(FileNotFoundError, match=r"absent\.pth, named by the argument"):
        find_weights(record(), tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="named by the config's key 'weights'"):
        find_weights(record(weights=str(tmp_path / "absent.pth")))


def test_nowhere_lists_the_places() -> None:
    with pytest.raises(FileNotFoundError, match=r"net\.pth is not in \$GEOGUIDE3D_WEIGHTS \(not set\)"):
        find_weights(record())


def test_a_hub_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, ConnectionError("no route"))
    with pytest.raises(FileNotFoundError, match=r"some/net\) did not give it either: no route.*copy net\.pth"):
        find_weights(record(hub="some/net"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match="pip install huggingface_hub"):
        find_weights(record(hub="some/net"))


def test_backbones_without_weights(tmp_path: Path) -> None:
    assert find_weights(BackboneRecord("descriptors")) is None
    with pytest.raises(ValueError, match="has no weights"):
        find_weights(BackboneRecord("descriptors"), written(tmp_path / "net.pth"))


def test_an_unrecorded_hash_is_not_checked(tmp_path: Path) -> None:
    path = written(tmp_path / "any.pth")
    assert find_weights(BackboneRecord("net", file="net.pth"), path) == path
