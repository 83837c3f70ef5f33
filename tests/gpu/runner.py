"""Steps one after another, each killed at its limit, and what there is written down after each of them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
MIB = 2**20
FILE_MIB = 16
"""The largest file that is written for bringing back."""
LOG_BYTES = 1 * MIB
"""What is kept of the end of each log."""
GRACE = 0.15
"""The share of a step's limit, at most :data:`GRACE_S`, that is left to it for saving what it has after Ctrl-C."""
GRACE_S = 10.0
RESERVE_S = 3.0
"""Kept of a stage's time for packing the results."""
LEAST_S = 1.0
"""Where a stage has less time left than this, no step is started."""
PASSED, KILLED, INTERRUPTED, NOT_STARTED = "passed", "killed at its limit", "interrupted", "not started"

Figures = Callable[[Path], Mapping[str, str]]
"""Key figures in words by name, from the stage's folder."""


@dataclass(frozen=True)
class Step:
    """One command. ``verify`` says what is wrong with what it left, although it exited with a code in ``expects``;
    where ``required`` fails, the steps after it are not started."""

    name: str
    command: tuple[str, ...]
    limit_s: float
    figures: Figures = field(default=lambda folder: {})
    verify: Callable[[Path], str] = field(default=lambda folder: "")
    expects: tuple[int, ...] = (0,)
    required: bool = False


@dataclass(frozen=True)
class Ran:
    """How a step ended: ``passed``, ``failed: ...``, ``killed at its limit``, ``interrupted``, ``not started: ...``."""

    name: str
    command: tuple[str, ...]
    outcome: str
    seconds: float
    limit_s: float
    figures: Mapping[str, str] = field(default_factory=dict)


class Stage:
    """The steps of one stage. ``folder`` is where they work and write; what is to be brought back goes to ``out``:
    ``stageN.json``, what ran and its key figures, and ``stageN.tgz``, everything."""

    def __init__(self, number: int, limit_s: float, folder: Path, out: Path, facts: Mapping[str, Any]) -> None:
        self.number = number
        self.limit_s = limit_s
        self.folder = folder
        self.out = out
        self.facts = dict(facts)
        self.ran: list[Ran] = []
        self.left_out: list[str] = []
        self._start = time.monotonic()
        self._waiting = self._interrupted = False

    def run(self, steps: Sequence[Step], environment: Mapping[str, str]) -> int:
        """Run the steps; returns 0 where all passed, 1 where not, 2 where SIGINT or SIGTERM ended it. Either way a
        table is printed at the end, and all there is has been written."""
        reason = ""
        with self._interrupts():
            for step in steps:
                reason = "interrupted" if self._interrupted else reason
                if reason:
                    self._note(Ran(step.name, step.command, f"{NOT_STARTED}: {reason}", 0.0, step.limit_s))
                    continue
                left = self.limit_s - RESERVE_S - (time.monotonic() - self._start)
                if left < LEAST_S:
                    reason = f"the stage's {self.limit_s:g} s were used up"
                    self._note(Ran(step.name, step.command, f"{NOT_STARTED}: {reason}", 0.0, step.limit_s))
                    continue
                print(f"== {time.monotonic() - self._start:.0f} s: {step.name}", flush=True)
                ran = self._run_step(step, min(step.limit_s, left), environment)
                if step.required and ran.outcome != PASSED:
                    reason = f"{step.name} {ran.outcome}"
                self._note(ran)
        print(table(self.ran), flush=True)
        if self._interrupted:
            return 2
        return 0 if all(one.outcome == PASSED for one in self.ran) else 1

    def _run_step(self, step: Step, limit_s: float, environment: Mapping[str, str]) -> Ran:
        log = self.folder / "logs" / f"{step.name.replace(' ', '-')}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        self._waiting = True
        try:
            code = run_bounded(step.command, log, limit_s, environment)
        except KeyboardInterrupt:
            outcome = INTERRUPTED
        except OSError as wrong:
            outcome = f"failed: {wrong}"
        else:
            if code is None:
                outcome = KILLED
            elif code not in step.expects:
                outcome = f"failed: exit code {code}, {_last_line(log)}"
            else:
                outcome = PASSED
        finally:
            self._waiting = False
        seconds = round(time.monotonic() - began, 1)
        figures: Mapping[str, str] = {}
        try:
            wrong = step.verify(self.folder) if outcome == PASSED else ""
            outcome = f"failed: {wrong}" if wrong else outcome
            figures = step.figures(self.folder)
        except Exception as wrong:  # whatever a killed step left behind must not end the stage
            figures = {"figures": f"unreadable: {type(wrong).__name__}: {wrong}"[:200]}
        return Ran(step.name, step.command, outcome, seconds, limit_s, figures)

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """SIGTERM, as whoever lends a machine ends a run, and SIGINT end the step that runs, never the writing."""

        def interrupt(*_: object) -> None:
            self._interrupted = True
            if self._waiting:
                raise KeyboardInterrupt

        before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _note(self, ran: Ran) -> None:
        self.ran.append(ran)
        self.write()

    def write(self) -> None:
        """Write what there is."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.left_out = pack(self.folder, self.out / f"stage{self.number}.tgz")
        state = {
            "schema": SCHEMA,
            "stage": self.number,
            "limit_s": self.limit_s,
            **self.facts,
            "left_out": self.left_out,
            "steps": [asdict(one) for one in self.ran],
        }
        replace(self.out / f"stage{self.number}.json", (json.dumps(state, indent=1) + "\n").encode())


def run_bounded(command: Sequence[str], log: Path, limit_s: float, environment: Mapping[str, str]) -> int | None:
    """Run a command in a process group of its own, its output in ``log``; returns its exit code, or None where it had
    to be ended. It is sent SIGINT shortly before the limit, so that it can save what it has, and SIGKILL at it.

    Raises:
        KeyboardInterrupt: this process was interrupted; the command was ended then.
    """
    grace_s = min(GRACE_S, GRACE * limit_s)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
        try:
            return child.wait(limit_s - grace_s)
        except subprocess.TimeoutExpired:
            _end(child, grace_s)
            return None
        except KeyboardInterrupt:
            _end(child, GRACE_S)
            raise
        finally:
            _signal(child, signal.SIGKILL)  # what it started and left behind
            child.wait()


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    _signal(child, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def pack(folder: Path, target: Path, limit_bytes: int = FILE_MIB * MIB) -> list[str]:
    """Write all files below ``folder`` to the archive ``target``, logs by their end, the largest ones left out where it
    would be too large; return the names of those."""
    contents = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        content = path.read_bytes()
        contents[path.relative_to(folder).as_posix()] = content[-LOG_BYTES:] if path.suffix == ".txt" else content
    left_out: list[str] = []
    while True:
        data = _archive(contents)
        if len(data) <= limit_bytes or not contents:
            break
        largest = max(contents, key=lambda name: len(zlib.compress(contents[name], 1)))
        del contents[largest]
        left_out.append(largest)
    replace(target, data)
    return left_out


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one. (perfgate's own function for it cannot be
    imported yet where the bundle's wheels are still to be installed.)"""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _archive(contents: Mapping[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz", compresslevel=6) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return memory.getvalue()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (lines or ["it said nothing"])[-1][:160]


def table(ran: Sequence[Ran]) -> str:
    """What ran, for a terminal."""
    rows = [("step", "seconds", "limit", "outcome")]
    rows += [(one.name, f"{one.seconds:.1f}", f"{one.limit_s:.0f}", one.outcome) for one in ran]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for number, (name, seconds, limit, outcome) in enumerate(rows):
        lines.append(f"{name:{widths[0]}}  {seconds:>{widths[1]}}  {limit:>{widths[2]}}  {outcome}")
        if number:
            lines += [f"{'':{widths[0]}}    {key}: {value}" for key, value in ran[number - 1].figures.items()]
    return "\n".join(lines)
