from __future__ import annotations

import sys
from pathlib import Path

import pytest

from geoguide3d.cli import gpu_bundle

ROOMS = ["--rooms.train", "1", "--rooms.validation", "1", "--rooms.test", "1", "--rooms.views", "1"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for pip, which would need a registry: makes the folder and notes what was asked."""
    pytest.importorskip("open3d")
    calls: list[list[str]] = []

    def pip(words: list[str], check: bool) -> None:
        assert check
        site = Path(words[words.index("--target") + 1])
        (site / "jsonargparse").mkdir(parents=True)
        (site / "jsonargparse" / "__init__.py").write_text("")
        calls.append(words)

    monkeypatch.setattr(gpu_bundle.subprocess, "run", pip)
    return calls


def test_packs_frames_packages_and_fixtures(
    asked: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fixtures" / "backbones").mkdir(parents=True)
    (tmp_path / "fixtures" / "backbones" / "numbers.bin").write_bytes(b"123")
    monkeypatch.setattr(gpu_bundle, "FIXTURES", tmp_path / "fixtures")
    bundle = tmp_path / "bundle"
    words = ["--output", str(bundle), "--frames", str(tmp_path / "frames"), "--fixtures", '["backbones"]', *ROOMS]
    assert gpu_bundle.main(words) == 0
    assert (bundle / "frames" / "frames.json").is_file()
    assert (bundle / "frames" / "train" / "room_00000.jpg").is_file()
    assert (bundle / "fixtures" / "backbones" / "numbers.bin").read_bytes() == b"123"
    assert (bundle / "site" / "jsonargparse").is_dir()
    (pip,) = asked
    assert pip[:3] == [sys.executable, "-m", "pip"]
    assert [word.partition("==")[0] for word in pip[-4:]] == list(gpu_bundle.PACKAGES)
    assert f"python3 tools/train_room_clip.py --frames {bundle}/frames" in capsys.readouterr().out


def test_a_bundle_too_large_leaves_nothing(
    asked: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_bundle, "LIMIT_BYTES", 1000)
    with pytest.raises(SystemExit):
        gpu_bundle.main(["--output", str(tmp_path / "bundle"), "--frames", str(tmp_path / "frames"), *ROOMS])
    assert "render fewer rooms" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
