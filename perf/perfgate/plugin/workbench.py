"""This process as one that measures: pinned, and with its instruments, once the first case needs them."""

from __future__ import annotations

import pytest

from perfgate.machine import accelerator, energy, health, pinning
from perfgate.machine.accelerator import Accelerator
from perfgate.machine.health import Health
from perfgate.measure import clocks, memory
from perfgate.measure.measurement import Instruments
from perfgate.measure.throttle_guard import Watch
from perfgate.plugin.terminal_lines import Lines

NOT_PINNED = "off: not pinned yet"
"""The allocator's state until the first case; a session that only collects pins nothing."""

UNPINNED = "off: --no-pins"
"""The allocator's state with --perfgate-no-pins; stored records have this text, and are compared by it."""


class Workbench:
    """What the cases are measured with. ``device`` is "cpu" or like "cuda:0"; ``health`` is the machine's before the
    first case; ``allocator`` says how the allocator is pinned."""

    def __init__(self, config: pytest.Config, device: str, *, pin: bool) -> None:
        self._config = config
        self._device = device
        self._pin = pin
        self._instruments: Instruments | None = None
        self.allocator = NOT_PINNED
        self.health: Health = health.read()

    def prepare(self) -> None:
        """Pin this process, once, before the first case. A device's health is read only now: that opens the device, and
        a run that only collects leaves it alone."""
        if self.allocator == NOT_PINNED:
            if self._device != "cpu":
                self.health = health.read(self._device)
            self.allocator = pinning.pin_allocator() if self._pin else UNPINNED

    @property
    def instruments(self) -> Instruments:
        """Made when first asked for."""
        if self._instruments is None:
            device = accelerator.of(self._device)
            say = Lines(self._config, "perfgate").say
            watch = Watch() if device is None else Watch(lambda: device.devices, say=say)
            no_meter = memory.why_none(self._device)
            counter = energy.of(self._device)
            self._instruments = Instruments(clocks.of(device), memory.of(device), no_meter, device, watch, counter)
        return self._instruments

    @instruments.setter
    def instruments(self, instruments: Instruments) -> None:
        self._instruments = instruments

    @property
    def accelerator(self) -> Accelerator | None:
        """The accelerator, once something was measured on one."""
        return None if self._instruments is None else self._instruments.accelerator
