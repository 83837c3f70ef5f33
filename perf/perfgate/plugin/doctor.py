"""``python -m perfgate doctor``: what this machine offers, and which cases will run."""

from __future__ import annotations

import pytest

from perfgate.machine import accelerator, energy, environment, health, pinning
from perfgate.machine.accelerator import Accelerator
from perfgate.machine.health import Health
from perfgate.measure import clocks, memory
from perfgate.measure.timers import EventTimer
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.command_line import destination
from perfgate.plugin.session import SessionContext, of
from perfgate.plugin.terminal_lines import on_terminal
from perfgate.report import Column, Section, Table, terminal


def sections(context: SessionContext, items: list[pytest.Item]) -> list[Section]:
    """Devices, meters, clocks, pins, then the suite's own findings, then the rows."""
    described = environment.machine(context.device)
    context.workbench.prepare()
    device = accelerator.of(context.device)
    clock = clocks.of(device).name
    gib = described["memory_bytes"] / 2**30
    machine = [
        f"Machine key: {environment.machine_key(described)}",
        f"Device: {context.device} (asked for: {context.settings.device})",
        f"Processor: {described['cpu']}, {described['cores']} usable cores, {gib:.1f} GiB memory",
        f"Accelerator: {described.get('accelerator', 'none in use')}",
        f"Accelerator driver: {environment.driver(context.device) or 'none'}",
        f"Clock: {clock if device is None else f'{EventTimer.name}; {clock} for calls that talk to the host'}",
        f"Memory meter: {_meter(context.device, device)}",
        f"Energy counter: {_energy(context.device)}",
        f"Pins: allocator {context.workbench.allocator}; {pinning.usable_cores()} cores",
        *_health(health.read(context.device)),
        "Versions: " + ", ".join(f"{n} {v}" for n, v in environment.versions(context.settings.packages).items()),
    ]
    found = [Section("machine", "This machine", machine)]
    for more in context.config.hook.pytest_perfgate_doctor(config=context.config):
        found.extend(more)
    found.append(_rows(items))
    return found


def asked(config: pytest.Config) -> bool:
    """Whether the session is the doctor's, and measures nothing."""
    return bool(config.getoption(destination("doctor")))


def print_findings(session: pytest.Session) -> bool:
    """Print what the doctor finds, in place of running anything."""
    context, writer = of(session.config), session.config.get_terminal_writer()
    found = sections(context, session.items)
    writer.write(terminal.render(found, writer.fullwidth, on_terminal=on_terminal(context.config)))
    return True


def _health(now: Health) -> list[str]:
    """The machine's health, and each device's, one line each."""

    def words(what: str, values: dict[str, object]) -> str:
        return f"{what}: " + ", ".join(f"{name} {value}" for name, value in values.items())

    whole = now.to_json()
    devices, unread = whole.pop("devices", {}), whole.pop("unread", {})
    lines = [words("Health now", whole), *(words(f"Health of {name}", one) for name, one in devices.items())]
    lines += [f"Health of {name}: unknown: {why}" for name, why in unread.items()]
    return [*lines, "Fit for a baseline now: " + ("; ".join(health.not_idle(now)) or "yes")]


def _meter(name: str, device: Accelerator | None) -> str:
    meter = memory.of(device)
    if meter is None:
        return memory.why_none(name) or "none"
    try:
        memory.verify(meter)
    except memory.MeterError as wrong:
        return f"broken: {wrong}"
    return f"{meter.name}, reads a known allocation right"


def _energy(device: str) -> str:
    counter = energy.of(device)
    return f"none: {energy.why_none(device)}" if counter is None else counter.name


def _rows(items: list[pytest.Item]) -> Section:
    rows = []
    for item in items:
        row = row_of(item)
        if row is not None:
            rows.append(
                {
                    "case": row.case.key,
                    "quick": "quick" if row.quick else "",
                    "runs": "yes" if row.unavailable is None else f"no: {row.unavailable}",
                }
            )
    columns = [Column("case", "case"), Column("quick", "quick", words=True), Column("runs", "runs here", words=True)]
    return Section(
        "rows", "Cases", () if rows else ["No benchmark cases were found."], Table(columns, rows) if rows else None
    )
