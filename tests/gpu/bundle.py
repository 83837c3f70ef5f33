"""``make gpu-bundle``: everything that an offline GPU machine needs beside a checkout, in parts below a chosen size.

Wheels that the target's image lacks, bitsandbytes with the libraries of one CUDA version, the default model, and this
checkout's commit (``.git`` may not travel). Each part holds the manifest, ``bundle.json``, and pieces of the files
that it lists, the wheels first, so that one part is enough to begin with. docs/gpu-runner.md tells how it is used.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.gpu import BundleError, model, wheels
from tests.gpu.manifest import MANIFEST, File, Manifest, cut, sha256

ROOT = Path(__file__).parents[2]
PART_MIB = 60.0
MANIFEST_BYTES = 64 << 10
"""Kept free in each part for the manifest."""


def write_parts(files: Sequence[Path], folder: Path, part_bytes: int, target: wheels.Target, commit: str) -> Manifest:
    """Write the parts ``folder/part1``, ``part2``, ... anew, each below ``part_bytes``; return their manifest."""
    sizes = [(path.name, path.stat().st_size) for path in files]
    total = sum(size for _, size in sizes)
    room = part_bytes - MANIFEST_BYTES
    if room > 0:  # as few parts as that takes, and these of one size: a checkout travels beside each
        room = -(-total // -(-total // room))
    pieces = cut(sizes, room)
    listed = tuple(
        File(path.name, path.stat().st_size, sha256(path), tuple(its)) for path, its in zip(files, pieces, strict=True)
    )
    manifest = Manifest(commit, target.python, target.platform, listed)
    if len(manifest.text()) > MANIFEST_BYTES:
        raise BundleError(f"{len(files)} files are too many for a manifest of {MANIFEST_BYTES:,} bytes")
    for old in folder.glob("part*"):
        shutil.rmtree(old)
    for number in range(1, manifest.parts + 1):
        part = folder / f"part{number}"
        part.mkdir(parents=True)
        (part / MANIFEST).write_text(manifest.text(), encoding="utf-8")
    for path, its in zip(files, pieces, strict=True):
        with path.open("rb") as source:
            for piece in its:
                (folder / f"part{piece.part}" / piece.name).write_bytes(source.read(piece.size))
    return manifest


def commit_of(root: Path) -> str:
    """The checkout's commit, with "+changes" where it has uncommitted ones.

    Raises:
        BundleError: no commit is to be had.
    """
    from perfgate.machine.environment import commit

    found = commit(root)
    if found["commit"] is None:
        raise BundleError(f"{root} is no git checkout, and results need a commit: build the bundle in a clone")
    return f"{found['commit']}+changes" if found["dirty"] else str(found["commit"])


def flash_attn_wheel(given: Path, folder: Path, target: wheels.Target) -> Path:
    """A prebuilt flash-attn as a wheel in ``folder``: a wheel is copied, a folder that holds ``flash_attn/`` and the
    extension beside it is made into one.

    Raises:
        BundleError: it is neither.
    """
    if given.suffix == ".whl" and given.is_file():
        return Path(shutil.copy(given, folder))
    extensions = sorted(given.glob("flash_attn_2_cuda*.so"))
    source = given / "flash_attn" / "__init__.py"
    if not extensions or not source.is_file():
        raise BundleError(
            f"--flash-attn: {given} is neither a wheel nor a folder with flash_attn/ and flash_attn_2_cuda*.so; "
            "docs/gpu-runner.md tells how to build one"
        )
    return wheels.pack_folder(given, [source.parent, *extensions], folder, target)


def build(options: argparse.Namespace) -> Manifest:
    """Do what the module says; prints what it does.

    Raises:
        BundleError: what cannot be had, and the remedy.
    """
    target = wheels.Target(options.python, options.platform)
    have = wheels.read_list(options.have.read_text(encoding="utf-8"))
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    names = wheels.lacking(wheels.requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8")), have, target)
    commit = commit_of(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        print(f"downloading {len(names)} wheels: {', '.join(names)}", flush=True)
        found = wheels.download(wheels.pinned(names, constraints), target, work / "index")
        for number, wheel in enumerate(found):
            if wheel.name.startswith("bitsandbytes-"):
                found[number] = work / wheel.name
                wheels.reduce_bitsandbytes(wheel, found[number], options.cuda)
        if options.flash_attn is not None:
            found.append(flash_attn_wheel(options.flash_attn, work, target))
        print("packing the default model", flush=True)
        model.pack(work / "model")
        files = [*found, *(work / "model" / name for name in (model.HASHES, model.SMALL, model.GGUF))]
        return write_parts(files, options.folder, int(options.part_mib * 2**20), target, commit)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.bundle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / ".gpu", help="where the parts go (default .gpu)")
    parser.add_argument("--part-mib", type=float, default=PART_MIB, help=f"the largest part (default {PART_MIB:g})")
    parser.add_argument("--python", default=wheels.Target.python, help="the target's Python (default 3.12)")
    parser.add_argument("--platform", default=wheels.Target.platform, help="its newest platform tag")
    parser.add_argument("--cuda", default="130", help="the CUDA version whose bitsandbytes library is kept (130: 13.0)")
    parser.add_argument(
        "--have",
        type=Path,
        default=Path(__file__).with_name("image-cuda.txt"),
        help="what the target's image holds, as `pip list --format freeze` prints it",
    )
    parser.add_argument("--flash-attn", type=Path, help="a flash-attn built for the target: a wheel or a folder")
    options = parser.parse_args(arguments)
    from fixtures.model_store import ModelStoreError

    try:
        manifest = build(options)
    except (BundleError, ModelStoreError, OSError, subprocess.SubprocessError) as wrong:
        print(f"no bundle: {wrong}", file=sys.stderr)
        return 1
    total = 0
    for number in range(1, manifest.parts + 1):
        part = options.folder / f"part{number}"
        size = sum(path.stat().st_size for path in part.iterdir())
        total += size
        print(f"{part}: {size / 2**20:.1f} MiB, {len(list(part.iterdir()))} files")
    print(f"{manifest.parts} parts below {options.part_mib:g} MiB, {total / 2**20:.1f} MiB in all, {manifest.commit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
