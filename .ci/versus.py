"""A/B against a base commit: first the versions that it pinned, where they changed, then its code, where that changed.

Usage: python .ci/versus.py BASE [PYTEST OPTION...]; BASE is a revision, or empty for where this branch left origin/main
(or main). Each comparison is one `pytest perf --versus ENV` with a report folder of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CODE = ("perf", "fixtures", "conftest.py")
"""What the measured code consists of."""
DEFAULT_REPORT = "perf-report/versus"


def git(*arguments: str) -> str:
    """What git prints.

    Raises:
        SystemExit: it fails; the message quotes it.
    """
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"versus: git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def base_of(given: str) -> str:
    """The full hash of the commit to compare with: the one given, or where this branch left main."""
    if given:
        return git("rev-parse", "--verify", f"{given}^{{commit}}").strip()
    remote = git("branch", "--remotes", "--list", "origin/main").strip()
    return git("merge-base", "HEAD", "origin/main" if remote else "main").strip()


def pins(constraints: str) -> dict[str, str]:
    """Exact versions by package, from the text of a constraints file."""
    found = {}
    for line in constraints.splitlines():
        try:
            requirement = Requirement(line.partition("#")[0])
        except InvalidRequirement:
            continue
        exact = [one.version for one in requirement.specifier if one.operator == "=="]
        if exact:
            found[canonicalize_name(requirement.name)] = exact[0]
    return found


def changed_pins(before: str, after: str, measured: set[str]) -> str:
    """What ``--versus`` must install to go back to the versions of ``before``; empty where none changed."""
    old, new = pins(before), pins(after)
    names = sorted(name for name in old.keys() & new.keys() if name in measured and old[name] != new[name])
    return " ".join(f"{name}=={old[name]}" for name in names)


def comparisons(base: str) -> list[tuple[str, str]]:
    """What to compare with, each with a name for its report's folder."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["perfgate"]
    measured = {canonicalize_name(name) for name in settings["packages"]}
    now = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    then = changed_pins(git("show", f"{base}:constraints.txt"), now, measured)
    found = [("pins", then)] if then else []
    if git("diff", "--name-only", base, "--", *CODE).strip():
        found.append(("code", f"git:{base}"))
    return found


def main(arguments: list[str]) -> int:
    base = base_of(arguments[0])
    options = arguments[1:]
    report = DEFAULT_REPORT
    if "--report-dir" in options:
        position = options.index("--report-dir")
        report = options[position + 1]
        del options[position : position + 2]
    found = comparisons(base)
    if not found:
        print(f"versus: neither the measured code nor its pins differ from {base[:12]}: nothing to compare")
        return 0
    codes = []
    for name, environment in found:
        command = [sys.executable, "-m", "pytest", "perf", *options, "--versus", environment]
        command += ["--report-dir", f"{report}-{name}"]
        print(f"versus: {' '.join(command[1:])}", flush=True)
        codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))
