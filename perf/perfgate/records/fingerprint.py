"""What a measurement depends on beside the machine: code, library versions, driver; and what changed between two."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfgate.records.validate import RecordError, items, mapping, text

INTERPRETER = "python"
HARNESS = frozenset({"perfgate", "pytest", "pytest-benchmark"})
"""What measures: the same on both sides of a comparison, so that another version of it changes no verdict."""


@dataclass(frozen=True)
class Fingerprint:
    """``code`` is a digest of the benchmarks' sources (:func:`code_digest`); ``commit`` and ``dirty`` are None outside
    a git checkout; ``faults`` are those injected by a test of the gate; ``variables`` are those of the environment that
    change how libraries compute, None where they were not recorded."""

    code: str
    versions: Mapping[str, str]
    commit: str | None = None
    dirty: bool | None = None
    driver: str | None = None
    faults: tuple[str, ...] = field(default=())
    variables: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        known = {} if self.variables is None else {"variables": dict(self.variables)}
        return {
            "commit": self.commit,
            "dirty": self.dirty,
            "code": self.code,
            "versions": dict(self.versions),
            "driver": self.driver,
            "faults": list(self.faults),
            **known,
        }

    @classmethod
    def from_json(cls, data: Any) -> Fingerprint:
        """Read one fingerprint.

        Raises:
            RecordError: a field is missing or of the wrong type.
        """
        fields = mapping("fingerprint", data)
        try:
            dirty = fields["dirty"]
            if dirty is not None and not isinstance(dirty, bool):
                raise RecordError(f"dirty: got {dirty!r}, expected true, false or null")
            return cls(
                code=text("code", fields["code"]),
                versions={text("package", k): text(k, v) for k, v in mapping("versions", fields["versions"]).items()},
                commit=_optional("commit", fields["commit"]),
                dirty=dirty,
                driver=_optional("driver", fields["driver"]),
                faults=tuple(text("faults", fault) for fault in items("faults", fields["faults"])),
                variables=_variables(fields.get("variables")),  # younger than the first baselines
            )
        except KeyError as missing:
            raise RecordError(f"fingerprint: field {missing} is missing") from None
        except RecordError as wrong:
            raise RecordError(f"fingerprint: {wrong}") from None


def _variables(data: Any) -> dict[str, str] | None:
    if data is None:
        return None
    return {text("variable", name): text(name, value) for name, value in mapping("variables", data).items()}


def _optional(what: str, value: Any) -> str | None:
    return None if value is None else text(what, value)


def code_digest(root: Path, files: Sequence[Path]) -> str:
    """SHA-256 over the names, relative to ``root``, and the contents of the files.

    Unlike a commit it stays the same when a text or a test changes, and tells uncommitted changes apart.
    """
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def changed_versions(
    before: Fingerprint, after: Fingerprint, packages: Collection[str] | None = None
) -> dict[str, tuple[str | None, str | None]]:
    """Versions (before, after) of the packages that differ: of ``packages`` and the interpreter, or of all. What only
    measures (:data:`HARNESS`) is none of them."""
    names = (before.versions.keys() | after.versions.keys()) - HARNESS
    if packages is not None:
        names &= {*packages, INTERPRETER}
    pairs = {name: (before.versions.get(name), after.versions.get(name)) for name in sorted(names)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changed_variables(before: Fingerprint, after: Fingerprint) -> dict[str, tuple[str | None, str | None]]:
    """Environment variables (before, after) that differ; none where one of the two knows none."""
    if before.variables is None or after.variables is None:
        return {}
    names = sorted(before.variables.keys() | after.variables.keys())
    pairs = {name: (before.variables.get(name), after.variables.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def differences(before: Fingerprint, after: Fingerprint, packages: Collection[str] | None = None) -> list[str]:
    """In words, what changed that may change a time; empty where a difference is attributed to noise."""
    found = [
        f"{name} {then or 'absent'} -> {now or 'absent'}"
        for name, (then, now) in changed_versions(before, after, packages).items()
    ]
    found += [
        f"{name} {_shown(then)} -> {_shown(now)}" for name, (then, now) in changed_variables(before, after).items()
    ]
    if before.code != after.code:
        found.append(f"the benchmarks' code ({_commit(before)} -> {_commit(after)})")
    if before.driver != after.driver:
        found.append(f"driver {before.driver or 'none'} -> {after.driver or 'none'}")
    if before.faults != after.faults:
        found.append(f"injected faults: {', '.join(after.faults) or 'none'}")
    return found


def _shown(value: str | None) -> str:
    return "unset" if value is None else repr(value)


def _commit(fingerprint: Fingerprint) -> str:
    name = "no commit" if fingerprint.commit is None else fingerprint.commit[:12]
    return f"{name} with changes" if fingerprint.dirty else name
