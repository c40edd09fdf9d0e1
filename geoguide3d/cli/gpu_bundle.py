"""Pack what a GPU machine without network needs: rendered frames, the command line's packages, recorded fixtures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from geoguide3d.cli.room_frames import render_room_frames
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.encoders.room_clip.frames import RoomCounts
from geoguide3d.store.atomic import atomic_folder

LIMIT_BYTES = 40 * 2**20
PACKAGES = ("jsonargparse", "docstring-parser", "typeshed-client", "typing-extensions")
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
COMMAND = (
    "make test-gpu PYTHON=python3 && PYTHONPATH=.:{bundle}/site python3 tools/train_room_clip.py "
    "--frames {bundle}/frames --device cuda --output outputs/room_clip"
)


@dataclass(frozen=True)
class GpuBundleSettings:
    """Packs one folder of at most 40 MiB for a GPU machine with Python 3.12, torch, numpy, Pillow and no network.

    Args:
        output: the folder; an earlier one is replaced.
        frames: folder of rendered frames, as train_room_clip leaves it; what is missing there is rendered.
        fixtures: names in ../shared/fixtures of the recorded numbers that GPU tests read.
        rooms: what is rendered.
    """

    output: Path = Path("gpu_bundle")
    frames: Path = Path("outputs/room_clip/frames")
    fixtures: tuple[str, ...] = ()
    rooms: RoomCounts = field(default_factory=RoomCounts)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, _ = parse_settings(GpuBundleSettings, argv)
    with command("geoguide3d gpu_bundle"):
        render_room_frames(settings.frames, settings.rooms)
        with atomic_folder(settings.output) as folder:
            shutil.copytree(settings.frames, folder / "frames")
            _install(folder / "site")
            for name in settings.fixtures:
                shutil.copytree(FIXTURES / name, folder / "fixtures" / name)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if size > LIMIT_BYTES:
                raise ValueError(f"the bundle has {size / 2**20:.1f} MiB of 40: render fewer rooms (--rooms.train)")
    print(f"{settings.output}: {size / 2**20:.1f} MiB. On the GPU machine, in the repository:")
    print(COMMAND.format(bundle=settings.output))
    return 0


def _install(site: Path) -> None:
    """Puts the pure Python packages of the command line into a folder, in the versions that run here."""
    pinned = [f"{package}=={version(package)}" for package in PACKAGES]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site)]
    subprocess.run([*pip, *pinned], check=True)
