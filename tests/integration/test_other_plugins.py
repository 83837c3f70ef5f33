"""perfgate beside the pytest plugins that people have: no option of theirs is perfgate's, and their sessions start."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.subprocesses import finding, ran

PERF = Path(__file__).parents[2] / "perf"
PLUGINS = {
    "pytest-codspeed": ("--codspeed", []),
    "pytest-cov": ("--cov-report", ["--cov=test_all"]),
    "pytest-playwright": ("--browser", []),
    "pytest-rerunfailures": ("--reruns", ["--reruns=1"]),
    "pytest-xdist": ("--numprocesses", []),
}
"""Each with an option that it has, and what to start the session with."""
TESTS = """
def test_plain():
    assert True


def test_timed(benchmark):
    benchmark.pedantic(sum, args=([1, 2],), rounds=2)


def test_measured(measure):
    measure(sum, [1, 2])
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="a venv has no bin/ on Windows")]


class Environment:
    """This environment with all the plugins, in a folder of its own; ``missing``: those that cannot be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        base = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
        own = Path(sysconfig.get_path("purelib", vars=base, scheme="venv"))
        (own / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
        self.missing = [name for name in PLUGINS if not self._install(name)]
        (folder / "test_all.py").write_text(TESTS, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def _install(self, name: str) -> bool:
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode == 0

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = finding(PERF, PYTEST_ADDOPTS="", COLUMNS="120")
        return ran([str(self.python), "-m", "pytest", "-p", "perfgate.plugin", *arguments], self.folder, environment)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plugins"))


@pytest.mark.parametrize("name", PLUGINS)
def test_a_session_starts(environment: Environment, name: str) -> None:
    if name in environment.missing:
        pytest.skip(f"{name} cannot be installed: the package index is not to be had, or does not have it")
    option, arguments = PLUGINS[name]
    helped = environment.pytest("--help")
    assert helped.returncode == 0, helped.stderr
    assert option in helped.stdout
    assert "--perfgate-device" in helped.stdout
    done = environment.pytest(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "Cases: 1 measured" in done.stdout


def test_under_xdist_nothing_is_measured(environment: Environment) -> None:
    if "pytest-xdist" in environment.missing:
        pytest.skip("pytest-xdist cannot be installed")
    done = environment.pytest("-n", "2", "--perfgate-report-dir=none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert not (environment.folder / "none").exists()


@pytest.mark.parametrize("asked", ["--perfgate-versus=HEAD", "--perfgate-refresh-baseline", "--benchmark-compare"])
def test_under_xdist_what_needs_times_is_refused(environment: Environment, asked: str) -> None:
    if "pytest-xdist" in environment.missing:
        pytest.skip("pytest-xdist cannot be installed")
    settings = environment.folder / "pyproject.toml"
    settings.write_text("[tool.perfgate]\n", encoding="utf-8")
    try:
        done = environment.pytest("-n", "2", asked)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
        assert f"{asked.partition('=')[0]} needs times" in done.stderr
        assert "needs times" not in environment.pytest("-n", "0", asked).stderr
    finally:
        settings.unlink()


def test_codspeed_instruments_its_own_benchmarks(environment: Environment) -> None:
    if "pytest-codspeed" in environment.missing:
        pytest.skip("pytest-codspeed cannot be installed")
    done = environment.pytest("--codspeed", "-k", "not measured")
    assert done.returncode == 0, done.stdout + done.stderr
