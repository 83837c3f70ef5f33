"""No test hides packages from the processes it starts, and none needs more packages to be collected than it uses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL
from tests.support.subprocesses import ROOT, finding

REPLACES = re.compile(r"PYTHONPATH\"?['\]]?\s*[:=,](?!.*prepend=os\.pathsep)")


def test_what_was_installed_elsewhere_is_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("given", "own"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"from_{folder}.py").touch()
    program = [sys.executable, "-c", "import from_given, from_own"]
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "given"))
    subprocess.run(program, env=finding(tmp_path / "own"), check=True)
    assert finding(tmp_path, COLUMNS="7")["COLUMNS"] == "7"
    monkeypatch.delenv("PYTHONPATH")
    assert finding("a", "b")["PYTHONPATH"] == f"a{os.pathsep}b"  # no empty entry: it would mean the working folder


def test_no_test_replaces_the_path() -> None:
    """Each goes through :func:`tests.support.subprocesses.finding`, or puts its folder before what is there."""
    lines = [
        f"{file.name}: {line.strip()}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        if not file.name.endswith("subprocesses.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if REPLACES.search(line)
    ]
    assert lines == []


@pytest.mark.slow
def test_the_gpu_tests_are_collected_without_the_optional_packages(tmp_path: Path) -> None:
    """As on a GPU machine that has pytest, torch, transformers and little else. Every test that proves a path on a GPU
    must be there all the same."""
    (tmp_path / "lacking.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({[*OPTIONAL]!r}))\n")
    environment = finding(tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # plugins of packages that are lacking
    found = {}
    for lacking in (False, True):
        plugin = ["-p", "lacking"] if lacking else []
        plugin += ["-p", "pytest_benchmark.plugin"]
        command = [*(sys.executable, "-m", "pytest", "tests", "-m", "gpu", "--collect-only", "-q"), *plugin]
        command += ["-p", "no:cacheprovider", "-rs"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found[lacking] = {line for line in done.stdout.splitlines() if "::" in line and not line.startswith("SKIPPED")}
    assert found[True] == found[False]
    assert "needs cmarkgfm, which is not installed: pip install -e '.[test]'" in done.stdout
