"""A bundle on the machine that it is for: its files put together and checked, its wheels installed beside Python's own.

Parts may come one at a time: what has arrived is kept until the rest is there. Only the standard library and pip are
used, because nothing else is installed yet::

    python -m tests.gpu.unpack BUNDLE KEEP
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.gpu import BundleError
from tests.gpu.manifest import MANIFEST, File, Manifest, read_manifest, sha256

FILES, PIECES, SITE = "files", "pieces", "site"
"""Folders below the one that is kept: whole files, pieces of files still incomplete, installed wheels."""
INSTALLED = ".installed"
"""In :data:`SITE`: which manifest's wheels these are."""


def kept_manifest(keep: Path) -> Manifest:
    """The manifest of the bundle that was unpacked into ``keep``.

    Raises:
        BundleError: there was none.
    """
    path = keep / MANIFEST
    if not path.is_file():
        raise BundleError(f"nothing was unpacked into {keep}: run stage 1 with --from-bundle first, on this machine")
    return read_manifest(path)


def commit_of(bundle: Path, keep: Path) -> str | None:
    """The commit of the checkout that the bundle was built from, or None where no part of it is there.

    Raises:
        BundleError: a manifest is damaged.
    """
    for path in (*sorted(bundle.glob(f"part*/{MANIFEST}")), keep / MANIFEST):
        if path.is_file():
            return read_manifest(path).commit
    return None


def unpack(bundle: Path, keep: Path) -> list[str]:
    """Put together every file whose pieces are all there, in ``bundle/part*`` or kept from an earlier call; return the
    names of those that still lack some. A bundle of another commit replaces what was kept.

    Raises:
        BundleError: there is no part, the parts are of different bundles, or a file is damaged.
    """
    parts = sorted(path.parent for path in bundle.glob(f"part*/{MANIFEST}"))
    if not parts:
        raise BundleError(f"no part of a bundle in {bundle}: expected {bundle}/part1/{MANIFEST}; carry it, or name it")
    manifest = read_manifest(parts[0] / MANIFEST)
    for part in parts[1:]:
        if read_manifest(part / MANIFEST) != manifest:
            raise BundleError(
                f"{parts[0]} and {part} are of different bundles: carry the parts of one `make gpu-bundle`"
            )
    _start_anew_for(manifest, keep)
    incomplete = []
    for file in manifest.files:
        if (keep / FILES / file.name).is_file():
            continue
        for piece in file.pieces:
            arrived = bundle / f"part{piece.part}" / piece.name
            if arrived.is_file():
                shutil.copyfile(arrived, keep / PIECES / piece.name)
        if all((keep / PIECES / piece.name).is_file() for piece in file.pieces):
            _join(file, keep)
        else:
            incomplete.append(file.name)
    return incomplete


def _start_anew_for(manifest: Manifest, keep: Path) -> None:
    path = keep / MANIFEST
    if not path.is_file() or path.read_text(encoding="utf-8") != manifest.text():
        for folder in (FILES, PIECES, SITE):
            shutil.rmtree(keep / folder, ignore_errors=True)
    for folder in (FILES, PIECES):
        (keep / folder).mkdir(parents=True, exist_ok=True)
    path.write_text(manifest.text(), encoding="utf-8")


def _join(file: File, keep: Path) -> None:
    """Make a file of its pieces, check it, and only then give it its name."""
    joined = keep / FILES / f".{file.name}"
    with joined.open("wb") as whole:
        for piece in file.pieces:
            with (keep / PIECES / piece.name).open("rb") as stored:
                shutil.copyfileobj(stored, whole, 1 << 20)
    found = sha256(joined)
    for piece in file.pieces:
        (keep / PIECES / piece.name).unlink()
    if found != file.sha256:
        joined.unlink()
        raise BundleError(f"{file.name} has sha256 {found}, its manifest says {file.sha256}: carry the bundle again")
    joined.rename(keep / FILES / file.name)


def install(keep: Path) -> Path:
    """Install the bundle's wheels into ``keep/site`` and return it; nothing is done where they are already there.

    Raises:
        BundleError: a wheel has not arrived, or pip failed.
    """
    manifest, site = kept_manifest(keep), keep / SITE
    marker = site / INSTALLED
    if marker.is_file() and marker.read_text(encoding="utf-8") == manifest.text():
        return site
    wheels = [keep / FILES / file.name for file in manifest.files if file.name.endswith(".whl")]
    missing = [wheel.name for wheel in wheels if not wheel.is_file()]
    if missing:
        raise BundleError(f"{', '.join(missing)} not unpacked: carry the part that holds the rest of it too")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-compile", "--no-cache-dir", "--upgrade", "--target", str(site)]
    done = subprocess.run([*command, *map(str, wheels)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = " | ".join(done.stderr.strip().splitlines()[-3:]) or "pip said nothing"
        raise BundleError(
            f"pip could not install the bundle's wheels, which are for Python {manifest.python} on "
            f"{manifest.platform} (this is Python {sys.version.split()[0]}): {said}"
        )
    marker.write_text(manifest.text(), encoding="utf-8")
    return site


def main(bundle: str, keep: str) -> int:
    try:
        if (Path(keep) / MANIFEST).is_file() and not any(Path(bundle).glob(f"part*/{MANIFEST}")):
            incomplete = []  # a later stage on the same machine, for which nothing more was carried
        else:
            incomplete = unpack(Path(bundle), Path(keep))
        site = install(Path(keep))
    except (BundleError, OSError) as wrong:
        print(f"not unpacked: {wrong}", file=sys.stderr)
        return 1
    waiting = f"; still incomplete: {', '.join(incomplete)}" if incomplete else ""
    print(f"{len(list(site.glob('*.dist-info')))} packages in {site}{waiting}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
