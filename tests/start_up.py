"""What perfgate adds to the start of a pytest session that measures nothing: ``python -m tests.start_up [PAIRS]``.

Sessions with and without perfgate take turns, and who goes first alternates, in a project with one empty test. Printed
are medians and the median of the pairs' differences, of the wall clock and of the processor's time, which other
processes disturb less.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.support.subprocesses import finding

PAIRS = 20
ALLOWED_MS = 30.0
"""More than this is a fault: people run pytest hundreds of times a day."""
PERF = Path(__file__).parents[1] / "perf"
SESSION = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
WITH: tuple[str, ...] = ()
WITHOUT = ("-p", "no:perfgate.plugin")


def session(folder: Path, more: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor milliseconds of one session.

    Raises:
        SystemExit: the session failed.
    """
    environment = finding(
        PERF,
        PYTEST_ADDOPTS="",
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        PYTEST_PLUGINS="pytest_benchmark.plugin,perfgate.plugin",
    )
    start = time.perf_counter()
    process = subprocess.Popen([*SESSION, *more], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"start_up: {' '.join(process.args)} ended with {process.returncode}")  # type: ignore[arg-type]
    return 1000 * wall, 1000 * (used.ru_utime + used.ru_stime)


def measured(pairs: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """``pairs`` of sessions, each (with, without) perfgate, each (wall, processor) in milliseconds."""
    found = []
    with tempfile.TemporaryDirectory(prefix="perfgate-start-up-") as temporary:
        folder = Path(temporary)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        for more in (WITH, WITHOUT):  # compiles what is not compiled yet
            session(folder, more)
        for number in range(pairs):
            order = (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH)
            took = {more: session(folder, more) for more in order}
            found.append((took[WITH], took[WITHOUT]))
    return found


def main(arguments: list[str]) -> None:
    pairs = measured(int(arguments[0]) if arguments else PAIRS)
    print(f"{len(pairs)} pairs of sessions; medians")
    for place, name in enumerate(("wall clock", "processor")):
        with_, without = (median(pair[side][place] for pair in pairs) for side in (0, 1))
        more = median(pair[0][place] - pair[1][place] for pair in pairs)
        print(
            f"{name}: {with_:.0f} ms with perfgate, {without:.0f} ms without: {with_ / without:.3f} times, "
            f"{more:+.1f} ms a pair (allowed: {ALLOWED_MS:g})"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
