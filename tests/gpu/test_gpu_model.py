"""The default model in a bundle: a wrong file in it is found, whatever it was."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import model_store
from fixtures.model_store import SMOLLM2, ModelStoreError
from tests.gpu import BundleError, model
from tests.gpu.manifest import sha256


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A packed model whose GGUF file is a stand-in, and whose weights are written by one too."""
    gguf = tmp_path / "plain.gguf"
    gguf.write_bytes(b"GGUF stand-in")
    stand_in = replace(SMOLLM2, gguf_sha256=sha256(gguf), space_bytes=1)
    monkeypatch.setattr(model_store, "SMOLLM2", stand_in)
    monkeypatch.setattr(model, "write_weights", lambda gguf, folder: (folder / model.WEIGHTS).write_bytes(b"weights"))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / model.GGUF).write_bytes(lzma.compress(gguf.read_bytes()))
    small = {"config.json": b"{}", model_store.MARKER: json.dumps({"versions": {"torch": "1"}}).encode()}
    with tarfile.open(folder / model.SMALL, "w:gz") as archive:
        for name, content in small.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (folder / model.HASHES).write_text("{}")
    return folder


def test_a_folder_that_is_not_the_packed_one_is_removed(files: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"model\.safetensors in .* differ from what was packed; the folder was removed"
    ):
        model.restore(files, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_every_file_is_compared(files: Path, tmp_path: Path) -> None:
    hashes = {"config.json": hashlib.sha256(b"{}").hexdigest(), model.WEIGHTS: hashlib.sha256(b"weights").hexdigest()}
    (files / model.HASHES).write_text(json.dumps(hashes))
    with pytest.raises(BundleError, match=r"^complete\.json in"):  # the one file without a hash
        model.restore(files, tmp_path / "second")


def test_another_gguf_file_is_refused(files: Path, tmp_path: Path) -> None:
    (files / model.GGUF).write_bytes(lzma.compress(b"another"))
    with pytest.raises(ModelStoreError, match=r"has sha256 .*, expected"):
        model.restore(files, tmp_path / "cache")
