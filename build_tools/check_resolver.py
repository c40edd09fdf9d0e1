"""Resolves the pinned dependencies for every supported Python, without installing anything.

pip's --python-version chooses wheels but still evaluates markers for the Python that runs it: they are evaluated here.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = ("open3d", "clip", "spconv", "viewer", "dev")


def lines_for(python: str, lines: list[str]) -> str:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    requirements = [Requirement(line) for line in lines]
    chosen = [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]
    for requirement in chosen:
        requirement.marker = None
    return "\n".join(map(str, chosen))


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            requirements, constraints = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
            requirements.write_text(lines_for(python, wanted))
            constraints.write_text(lines_for(python, pins))
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
            command += ["--only-binary=:all:", "--python-version", python, "--target", folder]
            command += ["--requirement", str(requirements), "--constraint", str(constraints)]
            subprocess.run(command, check=True)
        print(f"Python {python}: the pinned versions resolve")


if __name__ == "__main__":
    main()
