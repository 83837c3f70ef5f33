"""A library that stops using the cores: found in a case of all cores, and not in the same case of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from perfgate.machine.pinning import usable_cores

from tests.support.repository import commit, git
from tests.support.subprocesses import finding
from tests.support.wheels import offline, unpacked, wheel

pytest.importorskip("torch", reason="the library is a caller of torch")

PERF = Path(__file__).resolve().parents[2] / "perf"
BENCHMARK = """
import os
from dataclasses import dataclass
from typing import ClassVar

import {library}
from perfgate import ALL_CORES, Case, Row, cases, part


@dataclass(frozen=True, kw_only=True)
class WorkCase(Case):
    benchmark: ClassVar[str] = "work"
    threads: str = part("{{}}-cores", default="one")


def rows(config):
    for threads in ("one", ALL_CORES):
        yield Row(WorkCase(threads=threads))


@cases(rows)
def test_work(case, measure, one_core):
    with open(os.environ["THREADS_LOG"], "a") as log:
        print(case.threads, {library}.threads(), file=log)
    measure({library}.work, check=lambda found: None)
"""
CALLS_TORCH = """
import torch

threads = torch.get_num_threads
_matrix = torch.rand(1024, 1024)


def work():
    return _matrix @ _matrix
"""
ONE_THREAD = """
import torch

torch.set_num_threads(1)
"""
WITH_OPENMP = """
import ctypes
from pathlib import Path

_library = ctypes.CDLL(str(Path(__file__).with_name("{file}")))
_library.spin.restype = ctypes.c_double
threads = _library.threads


def work():
    return _library.spin(40000000) > 0
"""
SPIN = """
#ifdef _OPENMP
#include <omp.h>
int threads(void) { return omp_get_max_threads(); }
#else
int threads(void) { return 1; }
#endif

double spin(long steps) {
    /* Each addition waits for the one before it, so two threads of one physical core are faster than one; divisions
       would share its divider. */
    double total = 0;
#pragma omp parallel for reduction(+ : total)
    for (long one = 0; one < steps; one++)
        total += one * 0.5;
    return total;
}
"""


def compared(folder: Path, versus: str, environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The verdicts of a comparison in ``folder``, by case, and what it printed."""
    command = [
        *[sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-q", "--perfgate-versus", versus],
        *["--perfgate-report-dir", "report", "--perfgate-no-html", "--perfgate-versus-budget", "240"],
        *["--perfgate-tolerance", "25"],  # one of two cores takes nearly twice as long
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert (folder / "report" / "results.json").is_file(), output
    section = json.loads((folder / "report" / "results.json").read_text())["sections"]["versus"]
    return {row["case"]: row["verdict"] for row in section["rows"]}, output


def compiled(folder: Path, *, openmp: bool) -> bytes:
    """The library, with OpenMP or without it; skips where it cannot be compiled."""
    source, library = folder / "spin.c", folder / f"spin{openmp}.so"
    source.write_text(SPIN)
    command = ["cc", "-O2", "-shared", "-fPIC", *(["-fopenmp"] if openmp else []), "-o", str(library), str(source)]
    if shutil.which("cc") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs a C compiler, cc, with OpenMP")
    return library.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cores are pinned on Linux")
@pytest.mark.skipif(usable_cores() < 2, reason="this process may use one core only: all of them are one")
def test_a_wheel_that_was_built_without_openmp_is_found_on_all_cores(tmp_path: Path) -> None:
    index, installed, project = (tmp_path / name for name in ("index", "installed", "project"))
    for folder in (index, installed, project):
        folder.mkdir()
    file = "_spin.so"
    code = WITH_OPENMP.format(file=file)
    wheel(index, "toyspin", "1.0", code=code, data={file: compiled(tmp_path, openmp=True)})
    unpacked(installed, "toyspin", "2.0", code=code, data={file: compiled(tmp_path, openmp=False)})
    (project / "test_work.py").write_text(BENCHMARK.format(library="toyspin"))
    (project / "pytest.ini").write_text("[pytest]\n")
    log, busy = tmp_path / "threads.log", os.getloadavg()[0] > 1
    more = {"PERFGATE_CACHE": str(tmp_path / "cache"), "THREADS_LOG": str(log), **offline(index)}
    statuses, output = compared(project, "toyspin==1.0", finding(PERF, installed, **more))
    assert set(log.read_text().splitlines()) == {"one 1", f"all {usable_cores()}", "all 1"}
    assert statuses["work/default"] in {"SAME", "INCONCLUSIVE"}, output
    allowed = {"REGRESSED", "INCONCLUSIVE"} | ({"SAME"} if busy else set())
    assert statuses["work/all-cores"] in allowed, output


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cores are pinned on Linux")
@pytest.mark.skipif(usable_cores() < 2, reason="this process may use one core only: all of them are one")
@pytest.mark.parametrize("planted", [True, False], ids=["a library keeps to one thread", "nothing changed"])
def test_what_keeps_to_one_thread_is_found_on_all_cores(tmp_path: Path, planted: bool) -> None:
    (tmp_path / "test_work.py").write_text(BENCHMARK.format(library="library"))
    (tmp_path / "library.py").write_text(CALLS_TORCH)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / ".gitignore").write_text("report/\n__pycache__/\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    (tmp_path / "library.py").write_text((ONE_THREAD if planted else "") + CALLS_TORCH + "\n# another text\n")
    commit(tmp_path)
    log, busy = tmp_path / "threads.log", os.getloadavg()[0] > 1
    statuses, output = compared(tmp_path, "git:HEAD~1", finding(PERF, THREADS_LOG=str(log)))
    every = usable_cores()
    assert set(log.read_text().splitlines()) == {"one 1", f"all {every}", *(["all 1"] if planted else [])}
    assert statuses["work/default"] in {"SAME", "INCONCLUSIVE"}, output
    allowed = {"REGRESSED" if planted else "SAME", "INCONCLUSIVE"}
    if busy:  # who gets no more than one core anyway loses nothing by keeping to one thread
        allowed.add("SAME")
    assert statuses["work/all-cores"] in allowed, output
