"""A library that stops using the cores: found in a case of all cores, and not in the same case of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from perfgate.machine.pinning import usable_cores

from tests.support.subprocesses import finding

pytest.importorskip("torch", reason="the library is a caller of torch")

PERF = Path(__file__).resolve().parents[2] / "perf"
LIBRARY = """
def multiply(a):
    return a @ a
"""
ONE_THREAD = """
import torch

torch.set_num_threads(1)
"""
BENCHMARK = """
import os
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from perfgate import ALL_CORES, Case, Row, cases, part

import library


@dataclass(frozen=True, kw_only=True)
class ProductCase(Case):
    benchmark: ClassVar[str] = "product"
    threads: str = part("{}-cores", default="one")


def rows(config):
    for threads in ("one", ALL_CORES):
        yield Row(ProductCase(threads=threads))


@pytest.fixture(scope="module")
def matrix():
    return torch.rand(1024, 1024)


@cases(rows)
def test_product(case, matrix, measure, one_core):
    with open(os.environ["THREADS_LOG"], "a") as log:
        print(case.threads, torch.get_num_threads(), file=log)
    measure(lambda: library.multiply(matrix), check=lambda found: None)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="cores are pinned on Linux")
@pytest.mark.skipif(usable_cores() < 2, reason="this process may use one core only: all of them are one")
@pytest.mark.parametrize("planted", [True, False], ids=["a library keeps to one thread", "nothing changed"])
def test_what_keeps_to_one_thread_is_found_on_all_cores(tmp_path: Path, planted: bool) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "test_product.py").write_text(BENCHMARK)
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / ".gitignore").write_text("report/\n__pycache__/\n")
    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "before")
    (tmp_path / "library.py").write_text((ONE_THREAD if planted else "") + LIBRARY + "\n# another text\n")
    git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qam", "after")
    command = [
        *[sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-q", "--perfgate-versus", "git:HEAD~1"],
        *["--perfgate-report-dir", "report", "--perfgate-no-html", "--perfgate-versus-budget", "240"],
        *[
            "--perfgate-tolerance",
            "25",
        ],  # one of two cores takes nearly twice as long
    ]
    log, busy = tmp_path / "threads.log", os.getloadavg()[0] > 1
    environment = finding(PERF, THREADS_LOG=str(log))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert (tmp_path / "report" / "results.json").is_file(), output
    compared = json.loads((tmp_path / "report" / "results.json").read_text())["sections"]["versus"]
    statuses = {row["case"]: row["verdict"] for row in compared["rows"]}
    every = usable_cores()
    assert set(log.read_text().splitlines()) == {"one 1", f"all {every}", *(["all 1"] if planted else [])}
    assert statuses["product/default"] in {"SAME", "INCONCLUSIVE"}, output
    allowed = {"REGRESSED" if planted else "SAME", "INCONCLUSIVE"}
    if busy:  # who gets no more than one core anyway loses nothing by keeping to one thread
        allowed.add("SAME")
    assert statuses["product/all-cores"] in allowed, output
