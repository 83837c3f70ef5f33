"""What a stage's results are of: the device, the versions, the commit; and everything else that a machine tells.

``python -m tests.gpu.facts FOLDER --device cuda:0`` writes ``facts.json`` and ``environment.txt`` there; without a
device it says so and exits with 3.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMIT = "GPU_EVIDENCE_COMMIT"
"""Environment variable: the commit of a checkout that came without ``.git``."""
UNKNOWN_COMMIT = "unknown"
FACTS, ENVIRONMENT = "facts.json", "environment.txt"
NO_DEVICE = 3
PACKAGES = ("torch", "triton", "transformers", "accelerate", "bitsandbytes", "flash-attn", "numpy", "pytest")
COMMANDS = (
    "nvidia-smi -q",
    f"{sys.executable} -m pip list",
    "nvcc --version",
    "lscpu",
    "free -m",
    "df -h / /dev/shm",
    "git --version",
    "g++ --version",
    "cat /proc/version",
)
REHEARSED = ("lscpu", "free -m")
COMMAND_S = 20.0


def commit() -> str:
    """The commit that is measured: what the environment says, else git's with "+changes" where it has some, else
    ``unknown``."""
    stated = os.environ.get(COMMIT)
    if stated:
        return stated
    try:
        identifier = _git("rev-parse", "HEAD")
        return f"{identifier}+changes" if _git("status", "--porcelain") else identifier
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN_COMMIT


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    return done.stdout.strip()


def card_of(device: str) -> str | None:
    """The name of the accelerator ``device`` ("cuda:0"), or None where torch finds none."""
    import torch

    if not torch.accelerator.is_available():
        return None
    kind = torch.device(device).type
    return str(torch.get_device_module(kind).get_device_properties(device).name)


def of(device: str, *, rehearsal: bool) -> dict[str, Any]:
    """What identifies the results. A rehearsal's card is no card."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    card = "rehearsal without a device" if rehearsal else card_of(device)
    return {
        "card": card,
        "device": device,
        "rehearsal": rehearsal,
        "commit": commit(),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": versions,
    }


def environment(commands: tuple[str, ...]) -> str:
    """What the commands print; those that are missing or slow say so."""
    parts = []
    for command in commands:
        try:
            done = subprocess.run(
                command.split(), capture_output=True, text=True, errors="replace", timeout=COMMAND_S, check=False
            )
            said = done.stdout + done.stderr
        except (OSError, subprocess.TimeoutExpired) as wrong:
            said = f"{type(wrong).__name__}: {wrong}\n"
        parts.append(f"$ {command}\n{said}")
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.facts", description=(__doc__ or "").split(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    told = environment(REHEARSED if options.rehearse else COMMANDS)
    (options.folder / ENVIRONMENT).write_text(told, encoding="utf-8")
    found = of(options.device, rehearsal=options.rehearse)
    if found["card"] is None:
        print(f"torch finds no accelerator for {options.device} here; `python -m perfgate doctor` says why")
        return NO_DEVICE
    (options.folder / FACTS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{found['card']}, commit {found['commit']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
