"""What a run prints: in short, with ``-v``, into a file, and on terminals of 80 and 120 columns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401  # loads numpy before pytester's runs, which would each load it anew, and cannot

from tests.conftest import PERF, Project
from tests.support.subprocesses import finding

SHORT = 40
"""Lines of a run of the tests' project, without ``-v``: pytest's own and perfgate's."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

WIDE_SECTION = """
    def pytest_perfgate_sections(config, records):
        columns = [Column("case", "sum"), *(Column(f"c{n}", f"column number {n}") for n in range(12))]
        wide = Table(columns, [{"case": record.key} for record in records], ("c1",))
        kernels = Table([Column("case", "kernel")], [{"case": f"kernel {n}"} for n in range(100)])
        return [
            Section("wide", "All the sums", table=wide),
            Section("kernels", "Kernels", table=kernels, detail=("table",)),
        ]
"""


@pytest.fixture
def wide(project: Project) -> Project:
    """The project with a table that no narrow terminal holds, and a long one that is a detail."""
    conftest = project.path / "conftest.py"
    head, _, _ = conftest.read_text().partition("def pytest_perfgate_sections")
    conftest.write_text(head + "\n".join(line[4:] for line in WIDE_SECTION.splitlines()) + "\n")
    return project


def headers(lines: list[str]) -> list[str]:
    """The header line of each piece of the wide table."""
    return [line for line in lines if line.strip().startswith("sum ")]


def on_terminal(folder: Path, columns: int, *arguments: str) -> str:
    """What a run writes on a pseudo-terminal of so many columns, control sequences included."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = finding(PERF, TERM="xterm", PYTEST_ADDOPTS="")
    for name in ("COLUMNS", "CI", "NO_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = bytearray()
    with contextlib.suppress(OSError):  # Linux: reading fails once the other end is closed
        while part := os.read(controller, 65536):
            written += part
    os.close(controller)
    assert process.wait(60) == 0, written.decode()
    return written.decode()


class TestShort:
    def test_few_lines_and_the_table_whole(self, wide: Project) -> None:
        lines = wide.run().outlines
        assert len(lines) <= SHORT
        assert len(headers(lines)) == 1
        assert not any("kernel 7" in line for line in lines)
        assert any("More with -v" in line and "Kernels" in line for line in lines)

    def test_details_are_behind_v(self, wide: Project) -> None:
        lines = wide.run("-v").outlines
        assert any("kernel 7" in line for line in lines)
        assert not any("More with -v" in line for line in lines)

    def test_the_files_have_the_details(self, wide: Project) -> None:
        wide.run()
        assert len(wide.results()["sections"]["kernels"]["rows"]) == 100
        assert "kernel 7" in (wide.path / "perf-report/summary.md").read_text()

    def test_where_there_is_no_terminal_no_table_is_cut(self, wide: Project) -> None:
        for verbose in ((), ("-v",)):
            found = headers(wide.run(*verbose).outlines)
            assert len(found) == 1
            assert "column number 0" in found[0]
            assert "column number 11" in found[0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
class TestPseudoTerminal:
    @pytest.mark.parametrize("columns", [80, 120])
    def test_the_table_is_one_piece_that_fits(self, wide: Project, columns: int) -> None:
        text = CONTROL.sub("", on_terminal(wide.path, columns, "--perfgate-no-html"))
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        found = headers(lines)
        assert len(found) == 1
        assert len(found[0]) <= columns
        assert "column number 0" in found[0]
        assert "column number 1 " not in found[0]  # the least important goes first
        assert "column number 11" not in found[0]  # then the one at the right end
        assert any("Too wide for this terminal: column number 1, " in line for line in lines)

    def test_with_v_it_is_cut_and_nothing_is_left_out(self, wide: Project) -> None:
        text = CONTROL.sub("", on_terminal(wide.path, 80, "--perfgate-no-html", "-v"))
        lines = [line.rstrip("\r") for line in text.split("\n")]
        assert len(headers(lines)) > 1
        assert all(f"column number {n}" in text for n in range(12))

    def test_progress_is_one_line_rewritten_in_place(self, wide: Project) -> None:
        text = on_terminal(wide.path, 120, "--perfgate-no-html")
        kept = [line for line in text.split("\n") if "perfgate: [" in line]
        assert len(kept) == 1
        assert kept[0].count("\rperfgate: [") == 3
        assert "%]" not in text
