"""flash-attn's source distributions, fetched from the index that pip uses, and the signatures they define."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.subprocesses import finding

SHA256 = {
    "1.0.9": "7c7e29ce25c6135f7291d39d8ce96481b6de0dc14e85eae73d1e5b6258d43ed9",
    "2.8.3.post2": "d0f9f0b08a986cdeadbffcf5ec8b3a8f514366c68ad1853d3ab061bc83cc340b",
}
"""The archives' hashes by version, as the index states them."""

PIP_TIMEOUT_S = 300

BUILD_BACKEND = '''
"""In place of setuptools while pip downloads: it wants a source distribution's metadata, and would run setup.py for
them, which stops without CUDA. The archive's PKG-INFO has them."""

import pathlib
import shutil


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    fields = dict(line.split(": ", 1) for line in open("PKG-INFO") if line.startswith(("Name: ", "Version: ")))
    name = f"{fields['Name'].strip().replace('-', '_')}-{fields['Version'].strip()}.dist-info"
    pathlib.Path(folder, name).mkdir()
    shutil.copy("PKG-INFO", pathlib.Path(folder, name, "METADATA"))
    return name


class __legacy__:
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
'''


def pip(python: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pip in the environment of ``python``."""
    return subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PIP_TIMEOUT_S,
        check=False,
    )


def hashed(version: str, folder: Path) -> Path:
    """A requirements file that admits only the known archive of ``version``."""
    file = folder / f"flash-attn-{version}.txt"
    file.write_text(f"flash-attn=={version} --hash=sha256:{SHA256[version]}\n", encoding="utf-8")
    return file


def download(version: str, folder: Path) -> Path:
    """The source distribution, in ``folder``; nothing of it is run. Skips the test where it cannot be had."""
    backend = folder / "build_backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(BUILD_BACKEND, encoding="utf-8")
    done = pip(
        sys.executable,
        *("download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--use-pep517"),
        *("--requirement", str(hashed(version, folder)), "--dest", str(folder)),
        **finding(backend.parent),
    )
    assert "DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
    if done.returncode:
        last = (done.stderr.strip() or "pip said nothing").splitlines()[-1]
        pytest.skip(f"the source distribution of flash-attn {version} cannot be had: {last}")
    return folder / f"flash_attn-{version}.tar.gz"


def signatures(source: str) -> dict[str, inspect.Signature]:
    """The signatures of a module's functions, read from its text: names, kinds and defaults."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            others = (arguments.posonlyargs, arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
            assert not any(others), f"{node.name} has parameters of a kind that this does not read"
            names = [argument.arg for argument in arguments.args]
            required = len(names) - len(arguments.defaults)
            defaults = [inspect.Parameter.empty] * required + [ast.literal_eval(one) for one in arguments.defaults]
            found[node.name] = inspect.Signature(
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
                for name, default in zip(names, defaults, strict=True)
            )
    return found


def interface(archive: Path) -> dict[str, inspect.Signature]:
    """The signatures in an archive's flash_attn_interface.py, which is read and never written to disk."""
    folder = archive.name.removesuffix(".tar.gz")
    with tarfile.open(archive) as opened:
        file = opened.extractfile(f"{folder}/flash_attn/flash_attn_interface.py")
        assert file is not None
        return signatures(file.read().decode())
