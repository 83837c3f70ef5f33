"""The first minute on a device: what it is, what it can do at most, what reading its health costs, whether its event
timer can be believed, and how large the overwritten cache must be; then the tables of tables.py.

Every item stands alone: one that fails is written down, and the next goes on. JSON lines go to a file at once::

    python -m tests.gpu.probe FILE --device cuda:0

With ``--rehearse`` sizes are tiny, the device may be a CPU, and the event timer times the simulated device of
tests/support/fake_accelerator.py: what comes out says that the code runs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MATMUL = 8192
COPY_BYTES = 1 << 30
BURSTS_S = (0.1, 1.0)
NVML_READS = 20
TIMED = 30
FLUSHES_MIB = (25, 50, 100, 256)
WARM = 5


@dataclass
class Log:
    """JSON lines, on disk at once, and the same in words on standard output."""

    path: Path
    rehearsal: bool = False
    _start: float = field(default_factory=time.perf_counter)

    def say(self, kind: str, **fields: Any) -> None:
        line = {"kind": kind, "at_s": round(time.perf_counter() - self._start, 1), **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"rehearsal": self.rehearsal}, default=str) + "\n")
        print(
            " ".join(f"{k}={v if not isinstance(v, float) else format(v, '.4g')}" for k, v in line.items()), flush=True
        )

    def attempt(self, what: str, item: Callable[[], None]) -> None:
        """Run one item; what it raises is written down."""
        try:
            item()
        except Exception as wrong:
            self.say("failed", what=what, error=f"{type(wrong).__name__}: {str(wrong)[:300]}")
            traceback.print_exc()


@dataclass(frozen=True)
class Device:
    """The device, and how a call on it is timed."""

    name: str
    rehearsal: bool

    @property
    def on_cpu(self) -> bool:
        return self.name == "cpu"

    def synchronize(self) -> None:
        if not self.on_cpu:
            import torch

            torch.accelerator.synchronize(self.name)

    def timer(self) -> Any:
        """A fresh timer of perfgate's for one call."""
        from perfgate.machine import accelerator
        from perfgate.measure import clocks, timers

        found = accelerator.of(self.name)
        return timers.choose(found, clocks.of(found), "device")

    def median_s(self, call: Callable[[], Any], rounds: int = 20) -> float:
        """The median seconds of a call, after :data:`WARM` unmeasured ones."""
        for _ in range(1 if self.rehearsal else WARM):
            call()
        self.synchronize()
        timer = self.timer()
        return median(timer.time(call, 1).seconds for _ in range(2 if self.rehearsal else rounds))


def card(log: Log, device: Device) -> None:
    """What the device says of itself, and its ceilings: the matrix product and the copy that it reaches."""
    import torch

    size, copied = (64, 1 << 20) if device.rehearsal else (MATMUL, COPY_BYTES)
    if not device.on_cpu:
        found = torch.cuda.get_device_properties(device.name)
        log.say(
            "card",
            name=found.name,
            multiprocessors=found.multi_processor_count,
            l2_bytes=found.L2_cache_size,
            memory_bytes=found.total_memory,
            capability=torch.cuda.get_device_capability(device.name),
        )
    left = torch.randn(size, size, device=device.name, dtype=torch.bfloat16)
    right = torch.randn_like(left)
    seconds = device.median_s(lambda: left @ right, 10)
    log.say("ceiling", what=f"matmul {size} bf16", us=seconds * 1e6, tflops=2 * size**3 / seconds / 1e12)
    source = torch.empty(copied, dtype=torch.uint8, device=device.name)
    target = torch.empty_like(source)
    seconds = device.median_s(lambda: target.copy_(source), 10)
    log.say("ceiling", what=f"copy {copied >> 20} MiB", us=seconds * 1e6, gbs=2 * copied / seconds / 1e9)


def health(log: Log, device: Device) -> None:
    """What a reading of NVML costs, and which throttle counters count in idleness and under load."""
    if device.on_cpu:
        log.say("nvml", skipped="a CPU has no NVML")
        return
    import torch
    from perfgate.machine.health import read_device, throttled

    left = torch.randn(MATMUL, MATMUL, device=device.name, dtype=torch.bfloat16)
    first = read_device(device.name)
    began = time.perf_counter()
    for _ in range(NVML_READS):
        first = read_device(device.name)
    read_s = (time.perf_counter() - began) / NVML_READS
    log.say("nvml", read_ms=1e3 * read_s, reading=first.to_json())
    time.sleep(1.0)
    idle = read_device(device.name)
    log.say("nvml-idle", throttled=throttled(first, idle), counters_s=dict(idle.throttled_s))
    for burst_s in BURSTS_S:
        before, began = read_device(device.name), time.perf_counter()
        while time.perf_counter() - began < burst_s:
            for _ in range(10):
                left @ left
            device.synchronize()
        after = read_device(device.name)
        log.say(
            "nvml-burst",
            seconds=burst_s,
            throttled=throttled(before, after),
            reasons=after.throttle_reasons,
            counters_s=dict(after.throttled_s),
            watts=after.power_w,
            sm_mhz=(after.sm_clock_hz or 0) / 1e6,
            celsius=after.temperature_c,
        )


def event_timer(log: Log, device: Device) -> None:
    """perfgate's event timer against triton's do_bench and against the wall clock over many calls in a row."""
    from perfgate.measure import clocks, timers

    if device.on_cpu:
        from tests.support.fake_accelerator import FakeAccelerator, FakeWallClock, Kernel

        fake = FakeAccelerator()
        timer = timers.EventTimer(fake, FakeWallClock(fake))
        kernel = Kernel(fake, 1e-4, cold_seconds=5e-5)
        found = [timer.time(kernel, 1).seconds * 1e6 for _ in range(TIMED)]
        log.say("timer", call="a simulated kernel of 150 us", ours_us=median(found), spread_us=max(found) - min(found))
        return
    import torch
    from perfgate.machine import accelerator
    from torch.nn.functional import scaled_dot_product_attention
    from triton.testing import do_bench

    door = accelerator.TorchAccelerator(device.name)
    query = torch.randn(1, 32, 4096, 128, device=device.name, dtype=torch.bfloat16)
    key = torch.randn(1, 8, 4096, 128, device=device.name, dtype=torch.bfloat16)
    small = torch.ones(1024, device=device.name)
    calls: dict[str, Callable[[], Any]] = {
        "nothing": lambda: None,
        "flash attention 4096": lambda: scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True),
        "small addition": lambda: small + 1,
    }
    for name, call in calls.items():
        for _ in range(WARM):
            call()
        timer = timers.EventTimer(door, clocks.of(door))
        rounds = [timer.time(call, 1) for _ in range(TIMED)]
        ours = [one.seconds * 1e6 for one in rounds]
        device.synchronize()
        began = time.perf_counter()
        for _ in range(TIMED):
            call()
        device.synchronize()
        log.say(
            "timer",
            call=name,
            ours_us=median(ours),
            spread_us=max(ours) - min(ours),
            do_bench_us=None if name == "nothing" else do_bench(call, return_mode="median") * 1e3,
            wall_us=(time.perf_counter() - began) / TIMED * 1e6,
            spent_us=median(one.spent_s for one in rounds) * 1e6,
            note=timer.note,
        )


def flush_size(log: Log, device: Device) -> None:
    """A product of one row, which reads 32 MiB of weights, after overwriting more and more of the cache: from the size
    on where the time no longer grows, nothing is left in the cache."""
    if device.on_cpu:
        log.say("flush", skipped="a CPU's cache is not overwritten")
        return
    import torch

    weight = torch.randn(4096, 4096, device=device.name, dtype=torch.bfloat16)
    row = torch.randn(1, 4096, device=device.name, dtype=torch.bfloat16)
    for mib in FLUSHES_MIB:
        buffer = torch.empty(mib << 20, dtype=torch.uint8, device=device.name)
        pairs = []
        for _ in range(TIMED):
            buffer.zero_()
            begin, end = (torch.Event(device.name, enable_timing=True) for _ in range(2))
            begin.record()
            row @ weight.T
            end.record()
            pairs.append((begin, end))
        device.synchronize()
        log.say("flush", mib=mib, gemv_us=median(begin.elapsed_time(end) * 1e3 for begin, end in pairs))


def main(arguments: list[str] | None = None) -> int:
    from tests.gpu import tables

    parts = {
        "card": card,
        "health": health,
        "timer": event_timer,
        "flush": flush_size,
        "attention": tables.attention_table,
        "linear": tables.linear_table,
    }
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.probe", description=(__doc__ or "").split(":")[0])
    parser.add_argument("file", type=Path, help="where the JSON lines go; written anew")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes")
    parser.add_argument("--only", default=",".join(parts), help="some of the parts")
    options = parser.parse_args(arguments)
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text("", encoding="utf-8")
    log, device = Log(options.file, options.rehearse), Device(options.device, options.rehearse)
    for name in options.only.split(","):
        log.attempt(name, lambda part=parts[name]: part(log, device))  # type: ignore[misc]
    log.say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
