"""What has changed between two states of a project's files, told by function.

The rule: a case that ran a changed function is concerned. What is no function's body is followed by its names. Where a
constant, a class or an import has changed, every function that mentions the name has changed with it, and so has every
other name that was made of it. What cannot be followed concerns every case: a file that is no Python, a statement that
does more on import than bind names, a module that the project imports for the first time, what pytest finds by itself.

A function that no case ran concerns none, with one exception: where something may have been made of its source (a
kernel, say), what mentions it has changed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from perfgate.baselines.module_code import Function, ModuleCode, Statement, parse

PYTHON = ".py"
CONFTEST = "conftest.py"
FIXTURE = frozenset({"fixture", ".fixture"})
FOUND_BY_PYTEST = ("pytest", "collect_ignore")
"""How the names begin that pytest looks for in a module."""
HARMLESS = frozenset({"__all__", "__author__", "__doc__", "__version__"})
"""Names with underscores that Python itself does not look for, as it does for ``__getattr__``."""
COMPILING = frozenset(
    dot + name for name in ("autotune", "compile", "jit", "njit", "script", "vectorize") for dot in ("", ".")
)
"""What a function is given to that makes something else of its source; as a decorator, anything may."""


@dataclass(frozen=True)
class Changes:
    """The changed functions, named like ``fixtures/linear.py:make``; or ``everything``, why all cases are concerned."""

    functions: frozenset[str] = frozenset()
    everything: str | None = None


class _Everything(Exception):  # no error: how following the changes ends early
    """All cases are concerned; the text says why."""


def between(old: Mapping[str, bytes], new: Mapping[str, bytes], ran: Collection[str]) -> Changes:
    """What has changed from ``old`` to ``new``: contents by file name, with ``/``. ``ran`` are the functions that any
    case ran."""
    try:
        return Changes(_Follow(old, new, frozenset(ran)).functions())
    except _Everything as why:
        return Changes(everything=str(why))


@dataclass
class _Follow:
    """Follows the changes. ``waiting`` are names, each with its file, that have changed and were not followed yet."""

    old: Mapping[str, bytes]
    new: Mapping[str, bytes]
    ran: frozenset[str]
    views: dict[str, list[ModuleCode]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    names: set[tuple[str, str]] = field(default_factory=set)
    waiting: list[tuple[str, str]] = field(default_factory=list)

    def functions(self) -> frozenset[str]:
        differing = [file for file in sorted({*self.old, *self.new}) if self.old.get(file) != self.new.get(file)]
        for file in differing:
            if not file.endswith(PYTHON):
                raise _Everything(f"{file} has changed")
        self.views = {file: self._parsed(file) for file in {*self.old, *self.new} if file.endswith(PYTHON)}
        for file in differing:
            before, after = (self._code(file, files) for files in (self.old, self.new))
            if PurePosixPath(file).name == CONFTEST and (file not in self.old or file not in self.new):
                raise _Everything(f"{file} is new or gone")
            self._compare_statements(file, before, after)
            self._compare_functions(file, before, after)
        self._compare_imports()
        while self.waiting:
            self._spread(*self.waiting.pop())
        return frozenset(self.changed)

    def _parsed(self, file: str) -> list[ModuleCode]:
        """The file before and after, where it was and is there; once where it is the same."""
        contents = dict.fromkeys(files[file] for files in (self.old, self.new) if file in files)
        try:
            return [parse(content) for content in contents]
        except (SyntaxError, ValueError):
            raise _Everything(f"{file} cannot be read as Python") from None

    def _code(self, file: str, files: Mapping[str, bytes]) -> ModuleCode:
        if file not in files:
            return ModuleCode()
        return self.views[file][0 if files is self.old else -1]

    def _compare_functions(self, file: str, before: ModuleCode, after: ModuleCode) -> None:
        for name in before.functions.keys() | after.functions.keys():
            old, new = before.functions.get(name), after.functions.get(name)
            if old is None or new is None or old.text != new.text:
                if (old.reaches_out if old else "") != (new.reaches_out if new else ""):
                    raise _Everything(f"{file}:{name} sets something else of a module, or globally")
                self._function_changed(file, name, [one for one in (old, new) if one is not None])

    def _function_changed(self, file: str, name: str, versions: list[Function]) -> None:
        unit = f"{file}:{name}"
        if unit in self.changed:
            return
        self.changed.add(unit)
        holder = versions[0].holder
        if unit not in self.ran and (any(one.decorated for one in versions) or self._is_compiled(file, holder)):
            self._name_changed(file, holder)

    def _is_compiled(self, file: str, name: str) -> bool:
        """Whether something mentions this name of a file together with what compiles."""
        for other, versions in self.views.items():
            known_as = self._known_as(other, file, name)
            if not known_as:
                continue
            mentions = [one.mentions for code in versions for one in code.functions.values()]
            mentions += [one.mentions for code in versions for one in code.statements]
            if any(known_as & words and COMPILING & words for words in mentions):
                return True
        return False

    def _compare_statements(self, file: str, before: ModuleCode, after: ModuleCode) -> None:
        active = [[one.text for one in code.statements if not one.plain] for code in (before, after)]
        if active[0] != active[1]:
            raise _Everything(f"{file}: a statement that does more than bind names on import has changed")
        counts = [Counter((one.text, one.binds) for one in code.statements) for code in (before, after)]
        differing = (counts[0] - counts[1]) + (counts[1] - counts[0])
        changed = [[one for one in code.statements if (one.text, one.binds) in differing] for code in (before, after)]
        calls = [Counter(call for one in statements for call in one.calls) for statements in changed]
        if calls[0] != calls[1]:
            raise _Everything(f"{file}: what is called on import has changed")
        for one in (*changed[0], *changed[1]):
            self._statement_changed(file, one)

    def _statement_changed(self, file: str, one: Statement) -> None:
        if FIXTURE & one.mentions:
            raise _Everything(f"{file}: a fixture is new, gone or declared otherwise ({', '.join(sorted(one.binds))})")
        for name in one.binds:
            if name.startswith(FOUND_BY_PYTEST) or (name.startswith("__") and name not in HARMLESS):
                raise _Everything(f"{file}: {name} has changed")
            self._name_changed(file, name)

    def _compare_imports(self) -> None:
        """A module that is imported for the first time, or no longer, may have done anything on import."""
        before, after = (
            {one.module for code in self._all(files) for one in code.imports} for files in (self.old, self.new)
        )
        for module in sorted(before ^ after):
            if module.lstrip(".").partition(".")[0] in sys.stdlib_module_names and not module.startswith("."):
                continue
            files = [file for file in self.views if _is_module(file, module)]
            quiet = files and all(one.plain for file in files for code in self.views[file] for one in code.statements)
            if not quiet:
                raise _Everything(f"{module} is imported for the first time, or no longer")

    def _all(self, files: Mapping[str, bytes]) -> Iterator[ModuleCode]:
        return (self._code(file, files) for file in files if file.endswith(PYTHON))

    def _name_changed(self, file: str, name: str) -> None:
        if (file, name) not in self.names:
            self.names.add((file, name))
            self.waiting.append((file, name))

    def _spread(self, file: str, name: str) -> None:
        """All that mentions the name of this file has changed with it."""
        for other, versions in self.views.items():
            known_as = self._known_as(other, file, name)
            if not known_as:
                continue
            functions = {unit for code in versions for unit in code.functions}
            for unit in functions:
                mine = [code.functions[unit] for code in versions if unit in code.functions]
                if any(known_as & one.mentions for one in mine):
                    self._mention(other, unit, mine)
            for statement in (one for code in versions for one in code.statements if known_as & one.mentions):
                if not statement.plain:
                    raise _Everything(f"{other}: a statement that runs on import uses {name}, which has changed")
                for bound in statement.binds:
                    self._name_changed(other, bound)

    def _known_as(self, other: str, file: str, name: str) -> set[str]:
        """How a file may name what ``file`` calls ``name``, as mentions do; empty where it cannot."""
        if other == file:
            return {name, f".{name}"}
        found = set()
        for code in self.views[other]:
            for one in code.imports:
                if one.name in (name, "*") and _is_module(file, one.module):
                    found |= {name if one.name == "*" else one.bound, name}
                whole = one.module if one.name is None else f"{one.module}.{one.name}"
                if _is_module(file, whole) or (one.name is None and _is_inside(file, one.module)):
                    found.add(f".{name}")
            if code.by_name:
                found.add(f".{name}")
        return found

    def _mention(self, file: str, unit: str, versions: list[Function]) -> None:
        if f"{file}:{unit}" in self.ran or any(one.decorated for one in versions):
            if any(one.reaches_out for one in versions):
                raise _Everything(f"{file}:{unit} uses what has changed, and sets something of a module, or globally")
            self._function_changed(file, unit, versions)


def _is_module(file: str, module: str) -> bool:
    """Whether a file may be what is imported under this name: relative imports and folders on the path are not told
    apart."""
    parts = list(PurePosixPath(file).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    wanted = [part for part in module.split(".") if part]
    return not wanted or parts[-len(wanted) :] == wanted


def _is_inside(file: str, package: str) -> bool:
    """Whether a file may lie in this package."""
    folder = PurePosixPath(file)
    return any(_is_module(f"{parent}.py", package) for parent in folder.parents if parent.name)
