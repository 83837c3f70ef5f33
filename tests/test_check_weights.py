"""Which local folders are accepted as a model: safetensors only, pickles refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.model_store import ModelStoreError, check_weights


def folder_with(folder: Path, names: str) -> Path:
    for name in names.split():
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        "config.json model.safetensors",
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors",
        "config.json model.safetensors pytorch_model.bin",
    ],
)
def test_safe_weights_are_accepted(tmp_path: Path, names: str) -> None:
    check_weights(folder_with(tmp_path, names))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "MODEL.PTH", "last.ckpt"])
def test_pickled_weights_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelStoreError, match=rf"pickle form only \({name}\).*refused.*save_pretrained.*--model NEW"):
        check_weights(folder_with(tmp_path, f"config.json {name}"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", r"has no \*.safetensors; found: no files"),
        ("tiny.gguf", r"has no \*.safetensors; found: tiny.gguf"),
        ("README.md", r"has no \*.safetensors; found: README.md"),
        ("model.safetensors", r"has no config.json; found: model.safetensors"),
        (" ".join(f"{number:02}.txt" for number in range(25)), r"19.txt and 5 more"),
    ],
)
def test_incomplete_folder_lists_what_it_has(tmp_path: Path, names: str, said: str) -> None:
    with pytest.raises(ModelStoreError, match=f"{said}.*--model PATH"):
        check_weights(folder_with(tmp_path, names))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelStoreError, match=r"no model folder at .*nowhere.*--model PATH"):
        check_weights(tmp_path / "nowhere")
