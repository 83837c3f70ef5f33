"""What a worker really uses, for its controller to check: files and versions of packages, and the project's modules."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfgate.machine.source_files import is_installed

LIMIT = 300
"""Modules of the project in one message; those outside the worker's own checkout come first."""
MOST_FILES = 20
"""Files of one package in one message: a package installs few top-level modules."""
NOT_MODULES = ("__pycache__", "bin", "include", "lib", "lib64", "share")
"""Folders that a package installs beside its modules."""
OWN = "perfgate"
"""Comes from the controller's environment on both sides."""


def innermost(path: str, folders: Iterable[str]) -> str | None:
    """The innermost of ``folders`` that ``path`` lies in; None where it lies in none. All are real paths."""
    inside = [folder for folder in folders if path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)]
    return max(inside, key=len, default=None)


class Used:
    """Reports for some packages and checkouts, of which the first is the worker's own. Reports follow each other, one
    for each case: what was found once is remembered."""

    def __init__(self, packages: Sequence[str], checkouts: Sequence[str]) -> None:
        self._packages = tuple(packages)
        self._checkouts = tuple(checkouts)
        self._environment = tuple({os.path.realpath(one) for one in (sys.prefix, sys.base_prefix)})
        self._distributions: dict[str, importlib.metadata.Distribution | None] = {}
        self._names: dict[str, list[str]] = {}
        self._folders: dict[str, str | None] = {}

    def report(self) -> dict[str, Any]:
        """The interpreter; of each package the version and the files of its imported modules; and the project's modules
        by name, with their files."""
        return {
            "python": sys.executable,
            "packages": {name: self._package(name) for name in self._packages},
            "modules": self._modules(),
        }

    def _package(self, name: str) -> dict[str, Any]:
        if name not in self._distributions:
            try:
                self._distributions[name] = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                self._distributions[name] = None
            self._names[name] = top_level(name, self._distributions[name])
        distribution = self._distributions[name]
        files = [file for module in self._names[name] for file in self._files(module, distribution)]
        return {"version": distribution and distribution.version, "files": files[:MOST_FILES]}

    def _files(self, module: str, distribution: importlib.metadata.Distribution | None) -> list[str]:
        """The file of an imported module. A namespace package has none: there the package's own modules in it count."""
        if module not in sys.modules:
            return []
        file = _file(sys.modules[module])
        if file is not None:
            return [os.path.realpath(file)]
        inside = {name for name in list(sys.modules) if name.startswith(f"{module}.")}
        found = []
        for path in (distribution.files or ()) if distribution else ():
            name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            if path.suffix == ".py" and name in inside and (file := _file(sys.modules[name])) is not None:
                found.append(os.path.realpath(file))
        return found

    def _modules(self) -> dict[str, str]:
        found = {}
        for name, module in list(sys.modules.items()):
            file = None if name.partition(".")[0] == OWN else _file(module)
            if file is None:
                continue
            folder = os.path.dirname(file)
            if folder not in self._folders:
                self._folders[folder] = self._checkout(os.path.realpath(folder))
            if self._folders[folder] is not None:
                found[name] = os.path.realpath(file)
        own = self._checkouts[0] if self._checkouts else ""
        first = sorted(found, key=lambda name: (innermost(found[name], self._checkouts) == own, name))
        return {name: found[name] for name in first[:LIMIT]}

    def _checkout(self, folder: str) -> str | None:
        """The checkout whose project a folder belongs to."""
        inside = innermost(folder, (*self._checkouts, *self._environment))
        return inside if inside in self._checkouts and not is_installed(folder, inside) else None


def top_level(name: str, distribution: importlib.metadata.Distribution | None) -> list[str]:
    """The names of the modules that a package installs; a guess by its name where it does not say, as an editable one,
    which installs a finder of modules instead of them, need not."""
    guess = name.replace("-", "_")
    if distribution is None:
        return [guess]
    listed = (distribution.read_text("top_level.txt") or "").split()
    if listed:
        return listed
    files = distribution.files or ()  # read only now: torch has some ten thousand
    if any(path.suffix == ".pth" for path in files):
        return [guess]
    firsts = {path.parts[0] if len(path.parts) > 1 else path.name for path in files}
    stems = {first.partition(".")[0] for first in firsts if not first.endswith((".dist-info", ".data"))}
    return sorted(stem for stem in stems if stem.isidentifier() and stem not in NOT_MODULES) or [guess]


def _file(module: object) -> str | None:
    """A module's file. Looked up without attribute access, which makes a lazy module import itself."""
    found = getattr(module, "__dict__", {}).get("__file__")
    return os.path.abspath(found) if isinstance(found, str) else None


def from_question(question: Mapping[str, Any]) -> Used:
    """For the packages and checkouts that the controller names."""
    return Used(question["packages"], question["checkouts"])
