"""What a bundle holds, and how its files are cut into parts. Standard library only: it is read before anything is
installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.gpu import BundleError

MANIFEST = "bundle.json"
SCHEMA = 1


@dataclass(frozen=True)
class Piece:
    """``size`` bytes of a file, from ``start`` on, stored in part ``part`` (1, 2, ...) under ``name``."""

    part: int
    name: str
    start: int
    size: int


@dataclass(frozen=True)
class File:
    """One file of the bundle, and where its pieces are."""

    name: str
    size: int
    sha256: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds. ``commit``: of the checkout that built it, with "+changes" where it had any."""

    commit: str
    python: str
    platform: str
    files: tuple[File, ...]
    schema: int = SCHEMA

    @property
    def parts(self) -> int:
        return max(piece.part for file in self.files for piece in file.pieces)

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read and validate one manifest.

    Raises:
        BundleError: it cannot be read, or is not one of this version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema: got {data['schema']!r}, expected {SCHEMA}")
        files = []
        for one in data["files"]:
            pieces = tuple(
                Piece(int(p["part"]), _plain(p["name"]), int(p["start"]), int(p["size"])) for p in one["pieces"]
            )
            files.append(File(_plain(one["name"]), int(one["size"]), str(one["sha256"]), pieces))
            ends = [piece.start + piece.size for piece in pieces]
            if [piece.start for piece in pieces] != [0, *ends[:-1]] or ends[-1] != one["size"]:
                raise ValueError(f"{one['name']}: its pieces do not make the file")
        return Manifest(str(data["commit"]), str(data["python"]), str(data["platform"]), tuple(files))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as wrong:
        said = f"field {wrong} is missing" if isinstance(wrong, KeyError) else wrong
        raise BundleError(f"{path} is no bundle's manifest: {said}; build it anew: make gpu-bundle") from None


def _plain(name: str) -> str:
    """``name`` where it is one of a file and leads nowhere else."""
    if not name or name != Path(name).name:
        raise ValueError(f"not a file's name: {name!r}")
    return name


def cut(sizes: Iterable[tuple[str, int]], room: int) -> list[list[Piece]]:
    """Pieces of files of these names and sizes in bytes, in order, so that each part holds ``room`` bytes at most. A
    file is cut only where a part ends.

    Raises:
        BundleError: ``room`` is not above 0.
    """
    if room <= 0:
        raise BundleError("--part-mib: got too little for the manifest alone, expected 60 or so")
    part, left = 1, room
    found = []
    for name, size in sizes:
        pieces: list[Piece] = []
        start = 0
        while start < size or not pieces:
            if left == 0:
                part, left = part + 1, room
            here = min(size - start, left)
            pieces.append(Piece(part, name if here == size else f"{name}.{len(pieces) + 1:03}", start, here))
            start, left = start + here, left - here
        found.append(pieces)
    return found


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
