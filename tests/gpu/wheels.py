"""Which wheels an offline GPU machine lacks, and how they are downloaded for it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.gpu import BundleError

EXTRAS = ("suite", "optimum", "test")
"""The extras of pyproject.toml that a GPU run uses. The extra "gpu" names flash-attn, which no index has as a wheel."""
TOOLS = frozenset({"axe-playwright-python", "check-jsonschema", "mypy", "playwright", "ruff", "zizmor"})
"""What only linting and the tests of the HTML page need; those tests skip themselves where it is missing."""
FROM_THE_IMAGE = frozenset({"torch", "triton"})
"""Never bundled: gigabytes, and built for the image's driver and CUDA."""
OLDEST_GLIBC_MINOR = 5
"""Wheels are asked for down to manylinux_2_5, which is manylinux1: pip matches each platform tag exactly."""
LEGACY_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Source: PEP 600, "Legacy manylinux tags"."""

Requires = Callable[[str], Sequence[str]]
"""The requirements that a package of this name states."""


@dataclass(frozen=True)
class Target:
    """The machine that the wheels are for: its Python ("3.12") and the newest platform tag that it accepts."""

    python: str = "3.12"
    platform: str = "manylinux_2_28_x86_64"

    @property
    def platforms(self) -> list[str]:
        """Every tag that pip must be given, the newest first.

        Raises:
            BundleError: not a manylinux tag in the form of PEP 600.
        """
        try:
            kind, major, minor, machine = self.platform.split("_", 3)
            newest = int(minor)
            if (kind, major) != ("manylinux", "2"):
                raise ValueError
        except ValueError:
            raise BundleError(
                f"--platform: got {self.platform!r}, expected manylinux_2_MINOR_MACHINE, such as manylinux_2_28_x86_64"
            ) from None
        tags = []
        for one in range(newest, OLDEST_GLIBC_MINOR - 1, -1):
            tags.append(f"manylinux_2_{one}_{machine}")
            if one in LEGACY_TAGS:
                tags.append(f"{LEGACY_TAGS[one]}_{machine}")
        return tags

    def environment(self) -> dict[str, str]:
        """What requirements' markers are evaluated with."""
        machine = self.platform.split("_", 3)[-1]
        return {key: str(value) for key, value in default_environment().items()} | {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


def read_list(text: str) -> dict[str, str | None]:
    """Versions by canonical name from lines ``name==version`` or ``name``; None where the version is not stated.

    Raises:
        BundleError: a line is neither.
    """
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        stated = line.partition("#")[0].strip()
        if not stated:
            continue
        name, _, version = stated.partition("==")
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise BundleError(
                f"not a package: {line!r}; expected name==version or a name, as `pip list --format freeze` prints them"
            )
        found[canonicalize_name(name)] = version.strip() or None
    return found


def requirements(pyproject: str) -> list[str]:
    """What a GPU run needs by pyproject.toml: the dependencies and those of :data:`EXTRAS`, without :data:`TOOLS`."""
    project = tomllib.loads(pyproject)["project"]
    lines = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    names = [(canonicalize_name(Requirement(line).name), line) for line in lines]
    return [line for name, line in names if name not in TOOLS and name != canonicalize_name(project["name"])]


def lacking(
    stated: Iterable[str],
    have: Mapping[str, str | None],
    target: Target,
    requires: Requires = lambda name: metadata.requires(name) or (),
) -> list[str]:
    """The canonical names of what ``stated`` needs, directly or through others, and ``have`` does not offer.

    Raises:
        BundleError: the image lacks something that only an image can bring, or a package's needs are not known here.
    """
    environment = target.environment()
    queue = [(Requirement(line), "") for line in stated]
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while queue:
        one, extra = queue.pop()
        name = canonicalize_name(one.name)
        if one.marker is not None and not one.marker.evaluate(environment | {"extra": extra}):
            continue
        if name in FROM_THE_IMAGE:
            _require_image(name, one.specifier, have)
            continue
        offered = _offers(have, name, one.specifier)
        if not offered:
            found.add(name)
        for inner in one.extras if offered else {"", *one.extras}:  # an image may have a package without its extras
            if (name, inner) not in seen:
                seen.add((name, inner))
                inherited = [Requirement(line) for line in _stated_by(name, requires)]
                queue += [(need, inner) for need in inherited if not inner or "extra" in str(need.marker)]
    return sorted(found)


def _stated_by(name: str, requires: Requires) -> Sequence[str]:
    try:
        return requires(name)
    except metadata.PackageNotFoundError:
        raise BundleError(f"what {name} needs is not known, because it is not installed here: make test") from None


def _offers(have: Mapping[str, str | None], name: str, wanted: SpecifierSet) -> bool:
    if name not in have:
        return False
    version = have[name]
    return version is None or wanted.contains(version, prereleases=True)


def _require_image(name: str, wanted: SpecifierSet, have: Mapping[str, str | None]) -> None:
    if not _offers(have, name, wanted):
        found = f"{name} {have[name]}" if name in have else f"no {name}"
        raise BundleError(
            f"the image has {found}, {name}{wanted} is needed, and it is too large to travel: name an image that has "
            "it with --have FILE, or lower the bound in pyproject.toml if the older one was tested"
        )


def pinned(names: Iterable[str], constraints: str) -> list[str]:
    """``name==version`` for each name, with the versions of constraints.txt.

    Raises:
        BundleError: constraints.txt pins no version of one.
    """
    pins = read_list("\n".join(line for line in constraints.splitlines() if "==" in line))
    missing = [name for name in names if pins.get(name) is None]
    if missing:
        raise BundleError(f"constraints.txt pins no version of {', '.join(missing)}: add the line name==version")
    return [f"{name}=={pins[name]}" for name in names]


def download(stated: Sequence[str], target: Target, folder: Path) -> list[Path]:
    """The wheels of ``name==version`` for the target, without their dependencies; nothing is built.

    Raises:
        BundleError: pip failed, or left another number of wheels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", target.python, "--dest", str(folder)]
    command += [word for tag in (*target.platforms, "any") for word in ("--platform", tag)]
    done = subprocess.run([*command, *stated], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != len(stated):
        said = " | ".join(done.stderr.strip().splitlines()[-3:]) or "pip said nothing"
        raise BundleError(
            f"{len(wheels)} of {len(stated)} wheels for Python {target.python} on {target.platform} downloaded: {said}"
        )
    return wheels


def reduce_bitsandbytes(wheel: Path, target: Path, cuda: str) -> None:
    """Copy the wheel with the libraries of one CUDA version ("130") and of the CPU alone: a tenth of its size.

    Raises:
        BundleError: it has no library for that version.
    """
    with zipfile.ZipFile(wheel) as old:
        libraries = [Path(name).name for name in old.namelist() if name.endswith(".so")]
        wanted = f"libbitsandbytes_cuda{cuda}.so"
        if wanted not in libraries:
            there = sorted(name.removeprefix("libbitsandbytes_cuda").removesuffix(".so") for name in libraries)
            raise BundleError(f"--cuda: {wheel.name} has no library for {cuda}; it has {', '.join(there)}")

        def kept(name: str) -> bool:
            return not name.endswith(".so") or name.endswith((wanted, "_cpu.so"))

        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
            for item in old.infolist():
                if kept(item.filename):
                    content = old.read(item)
                    if item.filename.endswith(".dist-info/RECORD"):
                        lines = content.decode().splitlines(keepends=True)
                        content = "".join(line for line in lines if kept(line.partition(",")[0])).encode()
                    new.writestr(item, content)


def pack_folder(folder: Path, members: Sequence[Path], target_folder: Path, target: Target) -> Path:
    """A wheel of flash-attn's files ``members`` (files, or folders with all that is in them) below ``folder``.

    Raises:
        BundleError: the package does not state its version.
    """
    text = (folder / "flash_attn" / "__init__.py").read_text(encoding="utf-8")
    stated = re.search(r'^__version__ = "([\w.+]+)"', text, re.MULTILINE)
    if stated is None:
        raise BundleError(f'{folder}/flash_attn/__init__.py has no line __version__ = "..."')
    tag = f"cp{target.python.replace('.', '')}"
    info = f"flash_attn-{stated[1]}.dist-info"
    files = sorted(path for one in members for path in ([one] if one.is_file() else one.rglob("*")) if path.is_file())
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.suffix != ".pyc"}
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: flash-attn\nVersion: {stated[1]}\n".encode()
    wheel_tag = f"{tag}-{tag}-linux_{target.platform.split('_', 3)[-1]}"
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {wheel_tag}\n".encode()
    content[f"{info}/top_level.txt"] = b"flash_attn\nflash_attn_2_cuda\n"
    content[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*content, f"{info}/RECORD"]).encode()
    path = target_folder / f"flash_attn-{stated[1]}-{wheel_tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in content.items():
            wheel.writestr(name, data)
    return path
