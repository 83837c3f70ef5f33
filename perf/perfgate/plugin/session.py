"""One session: what it measures with, the record of every case, and the files it leaves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.baselines import history
from perfgate.baselines.store import BaselineStore
from perfgate.lockstep import fresh_process
from perfgate.machine import accelerator, environment, health, pinning
from perfgate.machine.accelerator import Accelerator
from perfgate.machine.health import BUSY_LOAD, Health
from perfgate.measure import clocks, memory
from perfgate.measure.fault_injection import RENAMED
from perfgate.measure.measurement import Instruments
from perfgate.measure.throttle_guard import Watch
from perfgate.plugin import options
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.device_recovery import Takeover
from perfgate.plugin.options import Settings
from perfgate.plugin.terminal_lines import Lines
from perfgate.records.case import slug
from perfgate.records.fingerprint import Fingerprint, code_digest
from perfgate.records.record import SCHEMA, Record
from perfgate.report import Section, duration, write
from perfgate.report import run_summary as report
from perfgate.report.results import Results

if TYPE_CHECKING:
    from perfgate.plugin.compare_mode import Gate

RUN: pytest.StashKey[Run] = pytest.StashKey()
RECORD: pytest.StashKey[Record] = pytest.StashKey()

NOT_PINNED = "off: not pinned yet"
"""The allocator's state until the first case; a session that only collects pins nothing."""

UNPINNED = "off: --no-pins"
"""The allocator's state with --perfgate-no-pins; stored records have this text, and are compared by it."""

DURATIONS = "perfgate/durations"
"""pytest-cache key of the seconds each case took the last time it ran here."""


@dataclass
class Run:
    """State of a session. ``collected`` are the tests of all benchmarks by key, before any was deselected; ``records``
    are in the order of the run; times in seconds. ``own_sections`` replace the suite's sections where the run was no
    ordinary one; ``gate`` compares with a baseline, where that was asked for; ``takeover`` runs what is left after a
    case has broken the device's context; ``controller_clock`` times what is no measurement."""

    config: pytest.Config
    settings: Settings
    device: str
    allocator: str
    health_before: Health
    started: str = field(default_factory=clocks.today)
    collected: dict[str, str] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    waiting: list[pytest.Item] = field(default_factory=list)
    disabled: bool = False
    interrupted: bool = False
    written: tuple[str, ...] = ()
    write_error: str | None = None
    sections: list[Section] = field(default_factory=list)
    own_sections: list[Section] | None = None
    gate: Gate | None = None
    takeover: Takeover | None = None
    controller_clock: clocks.WallClock = field(default_factory=clocks.WallClock)
    _instruments: Instruments | None = None

    @classmethod
    def start(cls, config: pytest.Config) -> Run:
        """Read the settings and find the device; :meth:`pin` pins the process later.

        Raises:
            pytest.UsageError: an option or setting makes no sense, or the device does not exist.
        """
        settings = options.from_config(config)
        try:
            device = environment.resolve_device(settings.device)
        except environment.DeviceError as wrong:
            raise pytest.UsageError(str(wrong)) from None
        return cls(
            config=config,
            settings=settings,
            device=device,
            allocator=NOT_PINNED,
            health_before=health.read(),
        )

    def recall_durations(self) -> None:
        """Read how long the cases took the last time; pytest's cache exists only once it is configured."""
        cache = getattr(self.config, "cache", None)
        if cache is not None:
            self.expected = dict(cache.get(DURATIONS, {}))

    def pin(self) -> None:
        """Pin this process, once, before the first case. A device's health is read only now: that opens the device, and
        a run that only collects leaves it alone."""
        if self.allocator == NOT_PINNED:
            if self.device != "cpu":
                self.health_before = health.read(self.device)
            self.allocator = pinning.pin_allocator() if self.settings.pin else UNPINNED

    @property
    def instruments(self) -> Instruments:
        if self._instruments is None:
            device = accelerator.of(self.device)
            say = Lines(self.config, "perfgate").say
            watch = Watch() if device is None else Watch(lambda: device.devices, say=say)
            no_meter = memory.why_none(self.device)
            self._instruments = Instruments(clocks.of(device), memory.of(device), no_meter, device, watch)
        return self._instruments

    @property
    def accelerator(self) -> Accelerator | None:
        """The accelerator, once something was measured on one."""
        return None if self._instruments is None else self._instruments.accelerator

    def lose_device(self, item: pytest.Item, why: str) -> None:
        """From now on nothing runs on the device in this process. One that another process started ends here, and its
        starter goes on with the cases left."""
        if fresh_process.only() is not None:
            item.session.shouldstop = why
            return
        faults = [fault.text for fault in self.settings.faults]
        self.takeover = Takeover(self.config, self.config.invocation_params.dir, faults)

    def take_over(self, item: pytest.Item) -> None:
        """Give an item the record that a fresh process made of its case; the first one starts the process for all."""
        assert self.takeover is not None
        key = self.record_of(item).key
        if key not in self.takeover.records:
            items = item.session.items
            left = [self.record_of(one).key for one in items[items.index(item) :] if is_benchmark(one)]
            self.takeover.run(left, "a case broke the device's context")
        record = item.stash[RECORD] = self.takeover.records[key]
        self.takeover.redirect(item, record)

    def record_of(self, item: pytest.Item) -> Record:
        """The record of a benchmark item, made when first asked for."""
        if RECORD not in item.stash:
            row = row_of(item)
            if row is not None:
                record = Record(row.case.benchmark, row.case.version, row.case.fields, row.case.key)
            else:
                name = _benchmark_name(item)
                call = getattr(item, "callspec", None)
                record = Record(name, 1, {}, f"{name}/{slug(call.id) if call else 'default'}")
            record.provenance["executed_on"] = self.device.split(":")[0]
            if any(fault.kind == "rename" and fault.hits(record.key) for fault in self.settings.faults):
                record.key += RENAMED
            item.stash[RECORD] = record
        return item.stash[RECORD]

    def vanished(self, item: pytest.Item) -> bool:
        """Whether an injected fault takes this benchmark away."""
        key = self.record_of(item).key
        return any(fault.kind == "vanish" and fault.hits(key) for fault in self.settings.faults)

    def require_own_keys(self, items: list[pytest.Item]) -> None:
        """Refuse two benchmarks whose records would overwrite each other.

        Raises:
            pytest.UsageError: two items have one key.
        """
        owners: dict[str, str] = {}
        for item in filter(is_benchmark, items):
            key = self.record_of(item).key
            if key in owners:
                raise pytest.UsageError(
                    f"two benchmarks share the key {key!r}: {owners[key]} and {item.nodeid}; "
                    "rename one function, or give its Case another benchmark name"
                )
            owners[key] = item.nodeid

    def add(self, record: Record, took_s: float) -> None:
        """Take a finished record into the session."""
        record.pins = record.pins or pinning.current(self.allocator)  # another process's record has its own
        self.records[record.key] = record
        if record.status == "measured":
            self.durations[record.key] = took_s
        self.waiting = [item for item in self.waiting if item.stash.get(RECORD, None) is not record]

    def expected_s(self, item: pytest.Item) -> float | None:
        """About how long a case will take: as long as the last time here, or the table's guess; None if unknown."""
        row = row_of(item)
        if row is None:
            return None
        return 0.0 if row.unavailable is not None else self.expected.get(row.case.key, row.expected_s)

    def expected_left(self) -> float:
        """Seconds that the cases still waiting will take, as far as known."""
        return sum(self.expected_s(item) or 0.0 for item in self.waiting)

    def plan(self) -> list[str]:
        """What will run and about how long it takes, as lines for the terminal."""
        if not self.waiting:
            return []
        counts = Counter(_benchmark_name(item) for item in self.waiting)
        known = [self.expected_s(item) for item in self.waiting]
        by_benchmark = ", ".join(f"{n} {name}" for name, n in counts.items())
        lines = [
            f"perfgate: {len(self.waiting)} cases on {self.device} ({by_benchmark}), "
            f"about {duration(sum(s for s in known if s))}"
        ]
        if any(s is None for s in known):
            lines[0] += f" and {known.count(None)} cases of unknown length"
        if any(row.case.key not in self.expected for item in self.waiting if (row := row_of(item))):
            lines[0] += " (a guess: the next run here will know from this one)"
        load = self.health_before.load_1min
        if load is not None and load > BUSY_LOAD:
            lines.append(
                f"perfgate: this machine is busy (load {load:g}): times will be too long and spread; "
                "OMP_WAIT_POLICY=PASSIVE makes OpenMP threads (torch, numpy) suffer less from it"
            )
        unavailable = sum(row.unavailable is not None for item in self.waiting if (row := row_of(item)))
        if unavailable:
            lines.append(f"perfgate: {unavailable} of them cannot run here; `python -m perfgate doctor` says why")
        return lines

    def ledger(self) -> dict[str, list[str]]:
        """Case keys by status."""
        out: dict[str, list[str]] = {}
        for record in self.records.values():
            out.setdefault(record.status, []).append(record.key)
        return out

    def fingerprint(self) -> Fingerprint:
        """What this run's measurements depend on beside the machine."""
        root = self.config.rootpath
        return Fingerprint(
            code=code_digest(root, self.settings.sources),
            versions=environment.versions(self.settings.packages),
            driver=environment.driver(self.device),
            faults=tuple(fault.text for fault in self.settings.faults),
            **environment.commit(root),
        )

    def session(self) -> dict[str, Any]:
        """The session's part of every JSON file."""
        machine = environment.machine(self.device)
        settings = json.loads(json.dumps(asdict(self.settings), default=str))
        return {
            "schema": SCHEMA,
            "started": self.started,
            "fingerprint": self.fingerprint().to_json(),
            "machine": machine,
            "machine_key": environment.machine_key(machine),
            "health": {"before": self.health_before.to_json(), "after": health.read(self.device).to_json()},
            "settings": settings,
            "ledger": self.ledger(),
            "interrupted": self.interrupted,
        }

    def finish(self) -> None:
        """Make the sections and write the report's files; remembers why if they cannot be written."""
        records = list(self.records.values())
        verdicts = (self.own_sections or []) if self.gate is None else self.gate.sections()
        if not records and self.own_sections is None and not verdicts:
            return
        session = self.session()
        suite: list[Section] = []
        if self.own_sections is None:
            found = self.config.hook.pytest_perfgate_sections(config=self.config, records=records)
            suite = [section for sections in found for section in sections]
        alone = fresh_process.only() is None
        past = self._history(session["machine_key"], records) if alone else []
        self.sections = [*verdicts, report.outcome(session, records), *suite, *past, report.about(session)]
        try:
            self.written = write.write(
                self.settings.report_dir,
                Results(session, records, self.sections),
                html=self.settings.html,
                shared=alone,
            )
        except write.OutputError as wrong:
            self.write_error = str(wrong)
        self._remember_durations()

    def _history(self, machine_key: str, records: list[Record]) -> list[Section]:
        """What the stored baselines of this machine know of the run's cases."""
        files = BaselineStore(self.settings.baselines, machine_key).files()
        return history.sections(files, records, self.settings.aliases)

    def _remember_durations(self) -> None:
        cache = getattr(self.config, "cache", None)
        if cache is not None:
            cache.set(DURATIONS, self.expected | self.durations)


def of(config: pytest.Config) -> Run:
    """The run of this session, started when first asked for.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or the device does not exist.
    """
    if RUN not in config.stash:
        config.stash[RUN] = Run.start(config)
    return config.stash[RUN]


def _benchmark_name(item: pytest.Item) -> str:
    row = row_of(item)
    return row.case.benchmark if row is not None else slug(getattr(item, "originalname", item.name))


def relative(path: Path, to: Path) -> str:
    """``path`` as a person in folder ``to`` would write it."""
    return str(path.relative_to(to)) if path.is_relative_to(to) else str(path)
