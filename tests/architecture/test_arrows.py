"""Walks the package and fails on an import between rooms that docs/architecture.md does not allow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "geoguide3d"

ALLOWED = {
    "ops": set(),
    "store": set(),
    "evaluation": {"ops", "geometry"},
    "geometry": {"ops"},
    "scenes": {"geometry", "store"},
    "encoders": {"ops", "store", "training"},
    "sparse": {"ops"},
    "backbones": {"ops", "geometry", "scenes", "sparse", "store", "training"},
    "losses": {"ops"},
    "training": {"ops", "store", "evaluation"},
    "fusion": {"ops", "geometry", "scenes", "encoders", "store"},
    "distillation": {"losses", "fusion", "backbones", "geometry", "scenes", "evaluation", "training", "store", "ops"},
    "query": {"encoders", "backbones", "distillation", "fusion", "geometry", "scenes", "store", "ops"},
    "depth": {"ops", "geometry", "scenes", "encoders", "evaluation", "training"},
    "viewer": {"query", "scenes", "geometry", "fusion"},
}
EVERY_ROOM = {*ALLOWED, "jobs", "cli"}
ALLOWED["jobs"] = EVERY_ROOM - {"viewer", "cli"}
ALLOWED["cli"] = EVERY_ROOM
ONLY_FILE = {"plyfile": "scenes/ply.py"}  # GPL-3.0-or-later: confined to one module
LAZY = {
    "torch_pointcloud",
    "spconv",
    "open_clip",
    "timm",
    "transformers",
    "open3d",
    "viser",
    "ray",
    "torch_scatter",
    "huggingface_hub",
    "accelerate",
    "tensorboard",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str | None:
    inside = path.relative_to(PACKAGE).parts
    return inside[0] if len(inside) > 1 else None


def imports(tree: ast.AST) -> list[tuple[str, int]]:
    """(dotted module, line) of every import statement, those inside functions too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "geoguide3d" else [module]
            found += [(name, node.lineno) for name in names]
    return found


def top_level_imports(tree: ast.Module) -> list[tuple[str, int]]:
    kept = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return imports(ast.Module(body=kept, type_ignores=[]))


def offences(path: Path, source: str) -> list[str]:
    tree = ast.parse(source)
    room = room_of(path)
    where = path.relative_to(PACKAGE).as_posix()
    wrong = []
    for module, line in imports(tree):
        parts = module.split(".")
        if parts[0] in ONLY_FILE and where != ONLY_FILE[parts[0]]:
            wrong.append(f"{where}:{line} imports {module}, which belongs in {ONLY_FILE[parts[0]]} alone")
        target = parts[1] if parts[0] == "geoguide3d" and len(parts) > 1 else None
        if room is None or target is None or target in (room, "_C", "_C_cuda", "__version__"):
            continue
        if target not in ALLOWED[room]:
            wrong.append(f"{where}:{line} imports geoguide3d.{target}: {room} may import {sorted(ALLOWED[room])}")
        if room == "query" and target == "distillation" and module != "geoguide3d.distillation.adapter":
            wrong.append(f"{where}:{line} imports {module}: query may import geoguide3d.distillation.adapter alone")
    for module, line in top_level_imports(tree):
        if module.split(".")[0] in LAZY:
            wrong.append(f"{where}:{line} imports {module} at the top: import it inside the function that needs it")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_arrows(path: Path) -> None:
    assert offences(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("geometry/x.py", "from geoguide3d.query.model import GeoGuide", "may import"),
        ("ops/x.py", "def f():\n    import geoguide3d.scenes.scene", "may import"),
        ("scenes/x.py", "import plyfile", "belongs in"),
        ("scenes/x.py", "import open3d as o3d", "inside the function"),
        ("query/x.py", "from geoguide3d.distillation.distill import distill", "adapter alone"),
        ("fusion/x.py", "from geoguide3d import cli", "may import"),
    ],
)
def test_a_forbidden_import_is_found(file: str, source: str, expected: str) -> None:
    assert any(expected in line for line in offences(PACKAGE / file, source))


def test_every_room_has_its_arrows() -> None:
    rooms = {room for path in FILES if (room := room_of(path)) is not None}
    assert rooms <= set(ALLOWED)
