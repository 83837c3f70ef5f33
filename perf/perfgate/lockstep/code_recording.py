"""Asks a process of its own which functions of the project each case runs: seeing them would spoil a timed one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from perfgate.lockstep import environments, pair, tracing
from perfgate.lockstep.environments import Project
from perfgate.lockstep.pair import EndedError
from perfgate.lockstep.worker_client import Worker
from perfgate.machine import source_files
from perfgate.measure.code_trace import Traced

Show = Callable[[str], None]


def record(project: Project, arguments: Sequence[str], keys: Sequence[str], show: Show) -> Traced:
    """Run each of these cases once in one traced process of this environment; the functions of the project's sources
    count. ``show`` is told how far it is. A case that does not get through has no functions.

    Raises:
        WorkerError: the process does not start, or dies.
    """
    files = [path for path in source_files.find(project.root, project.sources) if path.suffix == ".py"]
    names = [path.relative_to(project.root).as_posix() for path in files]
    side = environments.current(project.folder, project.packages)
    traced_side = replace(side, variables={**side.variables, **tracing.question(project.root, names)})
    failed = set()
    with (
        tempfile.TemporaryDirectory(prefix="perfgate-trace-") as folder,
        Worker("B", traced_side, arguments, Path(folder) / "worker.log") as worker,
    ):
        there = set(pair.collected(worker).cases)
        for number, key in enumerate(keys, 1):
            if key in there:
                show(f"which functions it runs: {key} ({number} of {len(keys)})")
                try:
                    pair.run_once(worker, key)
                except EndedError:
                    failed.add(key)
        found = pair.traced(worker)
    return replace(found, cases={key: None if key in failed else found.cases.get(key) for key in keys})
