"""What `import geoguide3d` costs and promises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import geoguide3d

HEAVY = (
    "open3d",
    "open_clip",
    "timm",
    "transformers",
    "torchvision",
    "spconv",
    "viser",
    "plyfile",
    "scipy",
    "jsonargparse",
)


def modules_after(statement: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("statement", ["import geoguide3d", "from geoguide3d import Adapter"])
def test_import_is_light(statement: str) -> None:
    assert modules_after(statement).isdisjoint(HEAVY)


def test_every_public_name_resolves() -> None:
    assert all(getattr(geoguide3d, name) is not None for name in geoguide3d.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Adaptor'"):
        _ = geoguide3d.Adaptor
