"""Which cases a change of the code is nothing to: those that ran no changed function when the baseline was recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from perfgate.baselines import code_changes
from perfgate.baselines.code_changes import Changes
from perfgate.baselines.store import Entry
from perfgate.lockstep import environments
from perfgate.lockstep.environments import Project, SideError
from perfgate.machine import source_files
from perfgate.records.fingerprint import Fingerprint

Say = Callable[[str], None]
SHOWN = 5
"""Changed functions that are named in a line."""


@dataclass(frozen=True)
class Concern:
    """Whom a change of the code concerns. ``unconcerned`` tells by key why it is nothing to a case; ``judged_anyway``
    are cases of which that is known, and which are judged all the same, in case something was overlooked; ``told`` says
    in words what has changed."""

    unconcerned: Mapping[str, str] = field(default_factory=dict)
    judged_anyway: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def of(entries: Mapping[str, Entry], now: Fingerprint, project: Project, judged_anyway: int, say: Say) -> Concern:
    """Whom the change from the entries' code to today's concerns. Of those whom it does not, so many are
    ``judged_anyway``, other ones for each state of the code."""
    unconcerned: dict[str, str] = {}
    told = []
    for then in {entry.refresh.fingerprint.code: entry.refresh.fingerprint for entry in entries.values()}.values():
        group = {key: one for key, one in entries.items() if one.refresh.fingerprint.code == then.code}
        if then.code == now.code or all(one.functions is None for one in group.values()):
            continue
        try:
            changes = _since(then, group, project, say)
        except SideError:
            continue  # all are concerned, and the judge, who needs the same checkout, says what is wrong
        found = {key: why for key, one in group.items() if (why := _why(one, changes)) is not None}
        unconcerned |= found
        told.append(_told(changes, len(found), len(group)))
    chosen = sorted(unconcerned, key=lambda key: hashlib.sha256(f"{now.code} {key}".encode()).digest())[:judged_anyway]
    kept = {key: why for key, why in unconcerned.items() if key not in chosen}
    return Concern(kept, tuple(chosen), tuple(told))


def _since(then: Fingerprint, entries: Mapping[str, Entry], project: Project, say: Say) -> Changes:
    ran: set[str] = set().union(*(entry.functions or () for entry in entries.values()))
    today = source_files.contents(project.root, source_files.find(project.root, project.sources))
    with environments.as_recorded(then, project, say) as (_, before):
        return code_changes.between(before, today, ran)


def _why(entry: Entry, changes: Changes) -> str | None:
    """Why the changes are nothing to a case; None where they may be something."""
    if changes.everything is not None or entry.functions is None or changes.functions & entry.functions:
        return None
    return f"the code has changed, but none of the {len(entry.functions)} functions that this case runs"


def _told(changes: Changes, unconcerned: int, cases: int) -> str:
    if changes.everything is not None:
        return f"the code's changes concern every case: {changes.everything}"
    return f"changed functions: {_shown(changes.functions)}; {unconcerned} of {cases} cases run none of them"


def _shown(names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more if names else "none"
