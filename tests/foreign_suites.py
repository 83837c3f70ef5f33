"""Suites that nobody here wrote, unchanged: what perfgate makes of them. `make foreign-suites` needs the package index
and about 40 minutes; it prints a table for docs/any-suite.md.

Each suite is the tests folder of a release's source archive, pinned by hash, in an environment of its own. It is
compared with another release, three times with itself, and once with one method that takes longer; and it is run with
perfgate installed and not asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import re
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

ROOT = Path(__file__).parents[1]
INDEX = "https://pypi.org/simple/"
BUDGET_S = 300
EQUAL_RUNS = 3
UNASKED_RUNS = 4
"""Half as many as with perfgate, and as without it: on a shared machine one run takes up to 1.8 times as long
as the next."""
PLANTED = "        for _ in range({steps}):\n            pass\n"
"""Added at the beginning of a method, as many steps as take about a tenth of its slower tests."""


@dataclass(frozen=True)
class Suite:
    """``archive`` is the release whose source archive has the suite in ``folder``, of which ``paths`` measure;
    ``needs`` is installed beside it; ``other`` is the release to compare with; ``slower`` has the module's file, the
    first line of the method that is to take longer, and the steps of the loop that is added."""

    package: str
    version: str
    sha256: str
    folder: str
    paths: tuple[str, ...]
    other: str
    slower: tuple[str, str, int]
    needs: tuple[str, ...] = ()


SUITES = (
    Suite(
        package="yarl",
        version="1.25.1",
        sha256="03dd38de09bc213e9a8b29761eec33ee1d5318dac0e49d8af36e4d27830e23a7",
        folder="tests",
        paths=("tests/test_url_benchmarks.py",),
        other="1.24.5",
        slower=("yarl/_url.py", '    def update_query(self, *args: Any, **kwargs: Any) -> "URL":\n', 30),
        needs=("pytest-codspeed==5.0.4",),
    ),
    Suite(
        package="cattrs",
        version="26.2.1",
        sha256="679132bfdc225c5ee40c024fc42519954767c387f950dc6751946c586bccdc6d",
        folder="bench",
        paths=("bench",),
        other="25.3.0",
        slower=("cattrs/converters.py", "    def structure(self, obj: UnstructuredValue, cl: type[T]) -> T:\n", 30),
        needs=("msgspec", "orjson", "ujson"),
    ),
    Suite(
        package="multidict",
        version="7.2.1",
        sha256="e8af3e6f1bdbc31fd762b094133b478b89988eaebc63cbe82b1d9e3bbd15cede",
        folder="tests",
        paths=("tests/test_views_benchmarks.py",),
        other="7.1.0",
        slower=("multidict/_multidict_py.py", "    def __and__(self, other: Iterable[object]) -> set[str]:\n", 1500),
        needs=("pytest-codspeed==5.0.4",),
    ),
)


class Bench:
    """A suite in a folder and an environment of its own."""

    def __init__(self, suite: Suite, folder: Path, budget_s: float) -> None:
        self.suite, self.folder, self.budget_s = suite, folder / suite.package, budget_s
        self.environment = self.folder / "environment"
        self.python = self.environment / "bin" / "python"

    def set_up(self) -> None:
        """Fetch and install.

        Raises:
            ValueError: the archive is not the pinned one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(_archive(self.suite))) as archive:
            top = f"{archive.getnames()[0].partition('/')[0]}/"
            for member in archive.getmembers():
                member.name = member.name.removeprefix(top)
                if member.name.startswith(f"{self.suite.folder}/"):
                    archive.extract(member, self.folder, filter="data")
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True)
        install = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = [f"{self.suite.package}=={self.suite.version}", *self.suite.needs]
        subprocess.run([*install, str(ROOT), *wanted, "-c", str(ROOT / "constraints.txt")], check=True)

    def pytest(self, *options: str) -> tuple[subprocess.CompletedProcess[str], float]:
        """One run, and its seconds."""
        start = time.perf_counter()
        command = [str(self.python), "-m", "pytest", *self.suite.paths, "-q", "-p", "no:cacheprovider", *options]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return done, time.perf_counter() - start

    def versus(self, version: str, what: str) -> dict[str, Any]:
        """What a comparison with a release finds: verdicts by case with their reasons, and its seconds."""
        report = self.folder / "report" / what
        against = f"{self.suite.package}=={version}"
        done, took_s = self.pytest(
            *("--perfgate-versus", against, "--perfgate-versus-budget", str(self.budget_s)),
            *("--perfgate-report-dir", str(report), "--perfgate-no-html"),
        )
        if not (report / "results.json").is_file():
            raise RuntimeError(f"{self.suite.package} against {version}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = json.loads((report / "results.json").read_text())["sections"]["versus"]["cases"]
        return {"took_s": took_s, "cases": {key: one["verdict"] for key, one in cases.items()}}

    def plant(self) -> None:
        """Let one method take a tenth longer.

        Raises:
            ValueError: it is not where it was.
        """
        file, line, steps = self.suite.slower
        (module,) = self.environment.glob(f"lib/python*/site-packages/{file}")
        text, loop = module.read_text(encoding="utf-8"), PLANTED.format(steps=steps)
        if text.count(line) != 1:
            raise ValueError(f"{module} has {text.count(line)} times {line!r}, expected one")
        module.write_text(text.replace(line, line + loop), encoding="utf-8")

    def unasked(self) -> tuple[bool, float]:
        """Where perfgate is installed and not asked for: whether the suite prints the same as without it, apart from
        times, and the geometric mean over the tests of their shortest times' ratio, with it to without it. The runs
        with and without take turns."""
        told, shortest_s = {True: "", False: ""}, {True: dict[str, float](), False: dict[str, float]()}
        for loaded in (True, False, False, True) * UNASKED_RUNS:
            out = self.folder / "report" / "unasked.json"
            out.parent.mkdir(exist_ok=True)
            options = ("--benchmark-columns=rounds", "--benchmark-min-rounds=5", "--benchmark-max-time=0.02")
            without = () if loaded else ("-p", "no:perfgate.plugin")
            told[loaded] = self.pytest(*options, f"--benchmark-json={out}", *without)[0].stdout
            for one in json.loads(out.read_text())["benchmarks"]:
                before = shortest_s[loaded].get(one["fullname"], math.inf)
                shortest_s[loaded][one["fullname"]] = min(before, one["stats"]["min"])
        ratios = [seconds / shortest_s[False][name] for name, seconds in shortest_s[True].items()]
        return _without_numbers(told[True]) == _without_numbers(told[False]), geometric_mean(ratios)


def _archive(suite: Suite) -> bytes:
    page = urllib.parse.urljoin(INDEX, f"{suite.package}/")
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    (one,) = (file for file in files if file["filename"] == f"{suite.package}-{suite.version}.tar.gz")
    with urllib.request.urlopen(urllib.parse.urljoin(page, one["url"]), timeout=60) as answer:
        content: bytes = answer.read()
    if (found := hashlib.sha256(content).hexdigest()) != suite.sha256:
        raise ValueError(f"{one['filename']}: its SHA-256 is {found}, expected {suite.sha256}")
    return content


def _without_numbers(text: str) -> list[str]:
    """The words of the tables, in no order: rows are sorted by time."""
    return sorted(re.sub(r"[\d.,()]+|\s(ns|us|ms|s)\b|-{3,}", " ", text).split())


def _told(verdicts: dict[str, Any]) -> str:
    counts = Counter(one["status"] if one else "INCONCLUSIVE" for one in verdicts["cases"].values())
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))


def _row(bench: Bench) -> list[str]:
    suite = bench.suite
    released = bench.versus(suite.other, "releases")
    print(f"{suite.package} against {suite.other}: {_told(released)} in {released['took_s']:.0f} s", flush=True)
    equal = []
    for number in range(EQUAL_RUNS):
        equal.append(bench.versus(suite.version, f"equal{number}"))
        print(f"{suite.package} against itself: {_told(equal[-1])} in {equal[-1]['took_s']:.0f} s", flush=True)
    same, ratio = bench.unasked()
    unasked = f"{'as without' if same else 'NOT as without'}, times {ratio:.3f}"
    print(f"{suite.package} not asked for: {unasked}", flush=True)
    bench.plant()
    planted = bench.versus(suite.version, "planted")
    print(f"{suite.package} with a slower function: {_told(planted)} in {planted['took_s']:.0f} s", flush=True)
    for key, one in planted["cases"].items():
        if one and one["status"] == "REGRESSED":
            print(f"    {key}: {one['reason']}", flush=True)
    skipped = Counter(one["reason"] for one in released["cases"].values() if one and one["status"] == "SKIPPED")
    for reason, number in skipped.items():
        print(f"{suite.package}: {number} skipped: {reason}", flush=True)
    return [
        f"{suite.package} {suite.version}",
        f"{len(released['cases'])}, {sum(skipped.values())} skipped",
        f"{suite.other}: {_told(released)}, {released['took_s']:.0f} s",
        "; ".join(_told(one) for one in equal),
        f"{suite.slower[1].strip()} {_told(planted)}, {planted['took_s']:.0f} s",
        unasked,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.foreign_suites", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where suites and environments are put")
    parser.add_argument("--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--only", choices=[suite.package for suite in SUITES], help="one suite alone")
    given = parser.parse_args()
    print("| suite | tests | another release | equal sides | one method slower | not asked for |")
    print("|---|---|---|---|---|---|")
    for suite in SUITES:
        if given.only in (None, suite.package):
            bench = Bench(suite, given.folder, given.budget)
            bench.set_up()
            print(f"| {' | '.join(_row(bench))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
