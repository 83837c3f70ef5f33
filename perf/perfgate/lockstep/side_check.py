"""Whether a side of a comparison is what was asked for: each worker reports what it used, and it must fit.

Two sides that run the same files are equal whatever they are called, so a side that is not what was asked for is an
error: it is never compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfgate.lockstep.overlay import SideError
from perfgate.lockstep.protocol import MessageError
from perfgate.lockstep.used import innermost


@dataclass(frozen=True)
class Asked:
    """What a side's workers must use.

    ``packages`` are those that they report. ``checkout`` is the side's own checkout, ``other`` the other side's where
    that is another one. ``pinned`` are versions by package, and ``projects`` packages of the checkout: both are
    installed in ``overlay``. ``has`` are the packages that an interpreter has itself, in its folders ``own``; what lies
    in the folders ``borrowed`` is the controller's.
    """

    packages: tuple[str, ...] = ()
    checkout: Path | None = None
    other: Path | None = None
    overlay: Path | None = None
    pinned: Mapping[str, str] = field(default_factory=dict)
    projects: tuple[str, ...] = ()
    has: Mapping[str, str] = field(default_factory=dict)
    own: tuple[Path, ...] = ()
    borrowed: tuple[Path, ...] = ()

    def question(self) -> dict[str, Any]:
        """What a worker is asked to report; the first checkout is its own."""
        return {
            "packages": list(dict.fromkeys((*self.packages, *self.pinned, *self.projects))),
            "checkouts": [os.path.realpath(one) for one in (self.checkout, self.other) if one is not None],
        }

    def require(self, side: str, used: Mapping[str, Any]) -> None:
        """Check what a worker of the side called ``side`` reported.

        Raises:
            SideError: it is not what was asked for; the message has both paths.
            MessageError: it is no such report.
        """
        packages, modules = _read(used)
        wrong = next((text for text in (*self._wrong_modules(modules), *self._wrong_packages(packages))), None)
        if wrong is not None:
            raise SideError(f"the side {side!r} is not what was asked for, and nothing was compared: {wrong}")

    def _wrong_modules(self, modules: Mapping[str, str]) -> Iterator[str]:
        if self.checkout is None or self.other is None:
            return
        mine, others = os.path.realpath(self.checkout), os.path.realpath(self.other)
        for name, file in modules.items():
            if innermost(file, (mine, others)) == others:
                yield (
                    f"its module {name} is {file}, of the other side's checkout, expected one below {mine}; what puts "
                    f"{others} on Python's path (PYTHONPATH, an editable install, a conftest.py) must name folders "
                    "relative to the checkout, or be installed from it with pip"
                )

    def _wrong_packages(self, packages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        overlay = "" if self.overlay is None else os.path.realpath(self.overlay)
        for name, version in self.pinned.items():
            found, files = packages[name]["version"], packages[name]["files"]
            if files and (found is None or not _is_version(found, version)):
                yield f"{name} is {found or 'of no version'} in {files[0]}, expected {version} in {overlay}"
            yield from _outside(name, files, [overlay])
        places = [overlay, *([] if self.checkout is None else [os.path.realpath(self.checkout)])]
        for name in self.projects:
            yield from _outside(name, packages[name]["files"], places)
        own, borrowed = ([os.path.realpath(one) for one in folders] for folders in (self.own, self.borrowed))
        for name in self.has:
            for file in packages[name]["files"]:
                place = innermost(file, (*own, *borrowed))
                if place in borrowed and place not in own:
                    yield (
                        f"its {name} is {file}, of this environment, expected its own in {' or '.join(own)}; is "
                        "PYTHONPATH set?"
                    )


def _outside(name: str, files: list[str], folders: list[str]) -> Iterator[str]:
    for file in files:
        if innermost(file, folders) is None:
            yield f"its {name} is {file}, expected one below {' or '.join(folders)}"


def _is_version(found: str, wanted: str) -> bool:
    """Whether a version is the pinned one: 1.0.0 is 1.0, and a build (2.13.0+cpu) is its release."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(f"=={wanted}").contains(found, prereleases=True)


def _read(used: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The packages and modules of a report.

    Raises:
        MessageError: it is no such report.
    """
    try:
        packages = {
            str(name): {"version": one["version"], "files": [str(file) for file in one["files"]]}
            for name, one in used["packages"].items()
        }
        modules = {str(name): str(file) for name, file in used["modules"].items()}
    except (AttributeError, KeyError, TypeError) as wrong:
        raise MessageError(f"no report of what was used ({type(wrong).__name__}: {wrong})") from None
    return packages, modules
