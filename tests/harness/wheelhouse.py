"""Wheels of all that an install needs, without a network: what is installed here, packed again.

Real installers (`uv pip install`, `uv tool run`) then take them as they take those of an index.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

UV = Path(sys.executable).parent / "uv"


def build(project: Path, into: Path, target: str = "wheel") -> Path:
    """Return the wheel, or the source archive (`sdist`), of one of the projects of this repository."""
    argv = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)]
    subprocess.run(argv, cwd=project, check=True, capture_output=True)
    (built,) = into.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def unpack(archive: tarfile.TarFile, into: Path) -> None:
    """Unpack an archive of our own making as all Pythons do: `filter=` is unknown before 3.11.4."""
    with_filter = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(into, **with_filter)  # type: ignore[arg-type]


def packages_needed(wheel: Path) -> set[str]:
    """Return what pip would install with a wheel, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())
    asked, needed = list(told.get_all("Requires-Dist", [])), set[str]()
    while asked:
        requirement = Requirement(asked.pop())
        is_wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_wanted and requirement.name not in needed:
            needed.add(requirement.name)
            asked += distribution(requirement.name).requires or ()
    return needed


def pack(names: Iterable[str], into: Path) -> None:
    """Write a wheel of each of these packages, as it is installed here."""
    for name in names:
        _pack(distribution(name), into)


def _pack(package: Distribution, into: Path) -> None:
    wheel = Parser().parsestr(package.read_text("WHEEL") or "")
    tags = [str(each).split("-") for each in wheel.get_all("Tag", [])]
    tag = "-".join(".".join(sorted({each[place] for each in tags})) for place in range(3))
    name = re.sub(r"[-_.]+", "_", package.metadata["Name"]).lower()
    record: list[str] = []
    with zipfile.ZipFile(into / f"{name}-{package.version}-{tag}.whl", "w") as archive:
        for file in package.files or ():
            is_made = file.suffix == ".pyc" or file.name in (
                "RECORD",
                "INSTALLER",
                "REQUESTED",
                "direct_url.json",
            )
            if is_made or ".." in file.parts:
                continue
            content = file.read_binary()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(content)}\n")
            archive.writestr(str(file), content)
            folder = file.parts[0]
            if folder.endswith(".dist-info"):
                info = folder
        record.append(f"{info}/RECORD,,\n")
        archive.writestr(f"{info}/RECORD", "".join(record))


def install(wheel: Path, wheels: Path, folder: Path) -> Path:
    """Make an environment that holds a wheel and what it needs; return its folder of programs."""
    venv = [str(UV), "venv", "-q", "--offline", "--python", sys.executable, str(folder)]
    subprocess.run(venv, check=True, capture_output=True)
    asked = [str(UV), "pip", "install", "-q", "--offline", "--no-index", "--no-cache", "--no-config"]
    where = ["--find-links", str(wheels), "--python", str(folder / "bin" / "python"), str(wheel)]
    subprocess.run([*asked, *where], check=True)
    return folder / "bin"
