"""What one session works with, fixed from its start: settings, device, and who keeps what changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from perfgate.baselines.store import BaselineStore
from perfgate.lockstep.environments import Project
from perfgate.machine import environment, source_files
from perfgate.measure import clocks
from perfgate.measure.measurement import Instruments
from perfgate.plugin import options
from perfgate.plugin.device_recovery import DeviceRecovery
from perfgate.plugin.options import Settings
from perfgate.plugin.record_log import RecordLog
from perfgate.plugin.workbench import Workbench
from perfgate.records.fingerprint import Fingerprint, code_digest
from perfgate.records.record import Record


@dataclass(frozen=True)
class SessionContext:
    """What a session works with. ``log`` knows its cases, ``workbench`` how they are measured, ``recovery`` what
    happens once the device is lost; ``controller_clock`` times what is no measurement."""

    config: pytest.Config
    settings: Settings
    device: str
    log: RecordLog
    workbench: Workbench
    recovery: DeviceRecovery
    started: str = field(default_factory=clocks.today)
    controller_clock: clocks.WallClock = field(default_factory=clocks.WallClock)

    @classmethod
    def start(cls, config: pytest.Config) -> SessionContext:
        """Read the settings and find the device.

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
            log=RecordLog(device, settings.faults),
            workbench=Workbench(config, device, pin=settings.pin),
            recovery=DeviceRecovery(config, settings.faults),
        )

    @property
    def instruments(self) -> Instruments:
        return self.workbench.instruments

    @property
    def records(self) -> Mapping[str, Record]:
        """The records of the cases that have ended so far, by key."""
        return self.log.records

    @property
    def disabled(self) -> bool:
        """Whether the benchmarks run as plain tests: ``--benchmark-disable``."""
        benchmarks = getattr(self.config, "_benchmarksession", None)  # set by pytest-benchmark, where that takes part
        return benchmarks is not None and benchmarks.disabled

    @property
    def project(self) -> Project:
        """What is measured, for rebuilding it as it was."""
        config, settings = self.config, self.settings
        return Project(config.rootpath, config.invocation_params.dir, settings.sources, settings.packages)

    def fingerprint(self) -> Fingerprint:
        """What this run's measurements depend on beside the machine."""
        root = self.config.rootpath
        return Fingerprint(
            code=code_digest(root, source_files.find(root, self.settings.sources)),
            versions=environment.versions(self.settings.packages),
            driver=environment.driver(self.device),
            variables=environment.variables(),
            faults=tuple(fault.text for fault in self.settings.faults),
            **environment.commit(root),
        )

    def baselines(self, machine_key: str | None = None) -> BaselineStore:
        """The stored baselines of a machine; of this one where none is named.

        Raises:
            perfgate.baselines.store.BaselineError: they cannot be read.
        """
        key = machine_key or environment.machine_key(environment.machine(self.device))
        return BaselineStore(self.settings.baselines, key)


CONTEXT: pytest.StashKey[SessionContext] = pytest.StashKey()


def of(config: pytest.Config) -> SessionContext:
    """The context of this session, made when first asked for.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or the device does not exist.
    """
    if CONTEXT not in config.stash:
        config.stash[CONTEXT] = SessionContext.start(config)
    return config.stash[CONTEXT]
