"""Pins: what a process fixes about itself. Real pinning happens in processes of its own, never in this one."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import perfgate
import pytest
import torch
from perfgate.machine import pinning

from tests.support.subprocesses import finding

glibc_only = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's"
)

HEAP_GROWTH = """
import sys
from perfgate.machine import pinning as pins

def heap():
    for line in open("/proc/self/maps"):
        if line.rstrip().endswith("[heap]"):
            low, high = line.split()[0].split("-")
            return int(high, 16) - int(low, 16)
    return 0

print(pins.pin_allocator() if sys.argv[1] == "pinned" else "off")
before = heap()
block = bytearray(64 << 20)
print(heap() - before >= 64 << 20)
del block
print(heap() - before >= 64 << 20)
"""


SEARCHING = """
import gc
from perfgate.machine.pinning import GarbageSearch

class Ring:
    def __init__(self, name):
        self.name, self.itself = name, self

    def __del__(self):
        found.append(self.name)

def ring(name):
    Ring(name)
    kept = [[] for _ in range(100_000)]  # the youngest generation many times over

found = []
search = GarbageSearch()
ring("usual")
search.pause()
ring("paused")
print(found, gc.isenabled())
search.resume()
print(found, gc.isenabled())
ring("resumed")
print(found)
full = gc.get_stats()[2]["collections"]
for _ in range(9):
    search.pause()
    search.resume()
print(gc.get_stats()[2]["collections"] - full)
gc.disable()
off = GarbageSearch()
off.pause()
off.resume()
print(gc.isenabled())
"""


@glibc_only
@pytest.mark.parametrize(
    ("how", "said"), [("pinned", ["mallopt", "True", "True"]), ("loose", ["off", "False", "False"])]
)
def test_large_blocks_come_from_the_heap_and_stay_there_only_when_pinned(how: str, said: list[str]) -> None:
    environ = finding(Path(perfgate.__file__).parents[1], PYTHONMALLOC="malloc")
    program = [sys.executable, "-c", HEAP_GROWTH, how]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == said


def test_garbage_of_a_pause_is_found_at_its_end_and_other_garbage_as_ever() -> None:
    environ = finding(Path(perfgate.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", SEARCHING], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['usual'] False",
        "['usual', 'paused'] True",
        "['usual', 'paused', 'resumed']",
        "0",  # what was there before the pause is not gone through again
        "False",  # a process that does not search does not begin to
    ]


class TestWhereItCannotPin:
    def libc(self, monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(**functions))

    def test_another_system_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert pinning.pin_allocator() == "off: mallopt is glibc's, this is darwin"

    @pytest.mark.parametrize("functions", [{}, {"mallopt": lambda number, value: 1}], ids=["none", "not glibc's"])
    def test_a_c_library_without_glibcs_mallopt(
        self, monkeypatch: pytest.MonkeyPatch, functions: dict[str, object]
    ) -> None:
        self.libc(monkeypatch, **functions)
        assert pinning.pin_allocator() == "off: this C library has no mallopt"

    def test_a_refused_parameter_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trim = pinning.MALLOPT["M_TRIM_THRESHOLD"][0]
        self.libc(monkeypatch, mallopt=lambda number, value: int(number != trim), gnu_get_libc_version=None)
        assert pinning.pin_allocator() == "off: mallopt refused M_TRIM_THRESHOLD"

    def test_every_parameter_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[tuple[int, int]] = []
        self.libc(monkeypatch, mallopt=lambda *pair: given.append(pair) or 1, gnu_get_libc_version=None)
        assert pinning.pin_allocator() == "mallopt"
        assert given == list(pinning.MALLOPT.values())


class TestCurrent:
    def test_with_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        assert pinning.current("mallopt") == {
            "allocator": "mallopt",
            "cores": pinning.usable_cores(),
            "threads": torch.get_num_threads(),
            "omp_wait_policy": "PASSIVE",
        }

    def test_a_wait_policy_that_is_not_set_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        assert pinning.current("mallopt")["omp_wait_policy"] is None

    def test_without_torch_there_are_no_threads_to_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "torch")
        assert pinning.current("off: --no-pins")["threads"] is None

    def test_cores_are_those_this_process_may_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
        assert pinning.usable_cores() == 3

    def test_where_affinity_is_unknown_all_cores_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 12)
        assert pinning.usable_cores() == 12


class TestOneCore:
    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
    def test_one_core_and_one_thread_inside_and_as_before_outside(self) -> None:
        cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
        with pinning.one_core():
            inside = pinning.current("off")
        assert (inside["cores"], inside["threads"]) == (1, 1)
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
    def test_a_failure_inside_leaves_nothing_pinned(self) -> None:
        cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
        with pytest.raises(ZeroDivisionError), pinning.one_core():
            raise ZeroDivisionError
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == (cores, threads)

    def test_one_thread_keeps_the_cores_and_as_before_outside(self) -> None:
        cores, threads = pinning.usable_cores(), torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with pinning.one_thread():
                assert (pinning.usable_cores(), torch.get_num_threads()) == (cores, 1)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(threads)

    def test_without_torch_one_thread_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "torch")
        with pinning.one_thread():
            assert "torch" not in sys.modules

    def test_where_there_is_no_affinity_the_threads_are_pinned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        with pinning.one_core():
            assert torch.get_num_threads() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_the_shared_core_is_left_for_the_cores_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 6, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cores: pinned.append(set(cores)))
    core = pinning.SharedCore(6)
    assert core.given
    core.leave()
    core.stay()
    core.leave()
    assert pinned == [{4, 6, 7}, {6}, {4, 6, 7}]
    nowhere = pinning.SharedCore(None)
    assert not nowhere.given
    nowhere.stay()
    nowhere.leave()
    assert len(pinned) == 3
