"""Finding, loading and sharing models, on tiny ones in local folders; no network."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from perfgate.clocks import WallClock

from fixtures import attention, devices, model_store, models, quantization
from fixtures.generation import encode, generate
from fixtures.models import ModelError, ModelPool, load, source
from tests.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[1]


def quiet(step: str) -> None:
    """Take the place of a display."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
class TestSource:
    def test_named_model_comes_from_the_store(self, monkeypatch: pytest.MonkeyPatch, tiny: Any) -> None:
        monkeypatch.setattr(model_store, "ensure", lambda model, say: tiny.folder)
        found = source("smollm2-135m")
        assert (found.name, found.slug) == ("smollm2-135m", "smollm2-135m")
        assert "Apache-2.0" in found.origin
        assert found.folder(quiet) == tiny.folder

    def test_store_that_fails_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(model: object, say: object) -> Path:
            raise model_store.ModelStoreError("the disk is full")

        monkeypatch.setattr(model_store, "ensure", fail)
        with pytest.raises(ModelError, match=r"^the disk is full$"):
            source("smollm2-135m").folder(quiet)

    def test_folder(self, tiny: Any) -> None:
        found = source(str(tiny.folder))
        assert found.name == str(tiny.folder)
        assert found.origin == f"folder {tiny.folder}"
        assert found.folder(quiet) == tiny.folder

    def test_slug_of_a_folder_depends_on_its_config(self, tiny: Any, tmp_path: Path) -> None:
        slugs = []
        for name, layers in (("My Model", 2), ("other/My Model", 2), ("third/My Model", 3)):
            folder = tmp_path / name
            shutil.copytree(tiny.folder, folder)
            config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": layers}
            (folder / "config.json").write_text(json.dumps(config))
            slugs.append(source(str(folder)).slug)
        assert slugs[0] == slugs[1] != slugs[2]
        assert all(slug.startswith("my-model-") and len(slug) == len("my-model-") + 8 for slug in slugs)

    def test_folder_without_config(self, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError, match=r"^--model .*: no config.json in this folder; expected a Hugging Face model"
        ):
            source(str(tmp_path))

    def test_folder_with_pickled_weights_only_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(ModelError, match=r"in pickle form only \(pytorch_model.bin\); these are refused"):
            source(str(tmp_path)).folder(quiet)

    def test_hub_id_touches_no_network_until_it_is_needed(self) -> None:
        found = source("elyza/ELYZA-japanese-Llama-2-7b-instruct")
        assert found.slug == "elyza-japanese-llama-2-7b-instruct"
        assert found.origin == "Hugging Face hub, elyza/ELYZA-japanese-Llama-2-7b-instruct"

    @pytest.mark.parametrize(
        "name",
        ["no-such-model", "", "./no/such/folder", "/no/such", "a/b/c", "owner/", "../up", "https://hub/owner/model"],
    )
    def test_unknown_name_tells_the_allowed(self, name: str) -> None:
        with pytest.raises(
            ModelError, match=r"^unknown model .*; allowed: smollm2-135m, a folder .*, or a hub id like"
        ):
            source(name)


class TestHub:
    def test_only_config_tokenizer_and_safetensors_are_asked_for(
        self, tiny: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        asked: dict[str, Any] = {}

        def download(identifier: str, **how: Any) -> str:
            asked.update(how, identifier=identifier)
            return str(tiny.folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        assert source("owner/model").folder(quiet) == tiny.folder
        assert asked["identifier"] == "owner/model"
        patterns = " ".join(asked["allow_patterns"])
        assert "*.safetensors" in patterns
        assert not any(suffix in patterns for suffix in (".bin", ".pt", ".py", ".pkl", "*.*"))

    @pytest.mark.parametrize("kind", ["offline", "not cached", "no connection"])
    def test_hub_out_of_reach_names_the_way_out(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        trouble = {
            "offline": OfflineModeIsEnabled("offline mode is enabled"),
            "not cached": LocalEntryNotFoundError("not in the cache"),
            "no connection": OSError("network is unreachable"),
        }[kind]

        def fail(*args: Any, **kwargs: Any) -> str:
            raise trouble

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(ModelError, match=r"^model 'owner/model' is neither in the local hub cache") as caught:
            source("owner/model").folder(quiet)
        for words in (type(trouble).__name__, "--model PATH", "run without --model for smollm2-135m"):
            assert words in str(caught.value)

    def test_error_without_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        def fail(*args: Any, **kwargs: Any) -> str:
            raise OSError

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(ModelError, match=r"nor can it be fetched \(OSError.*--model PATH"):
            source("owner/model").folder(quiet)

    def test_offline_for_real(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process of its own, because the hub library reads HF_HUB_OFFLINE when it is imported."""
        program = "from fixtures.models import source; source('owner/model').folder(print)"
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        environment = finding(REPOSITORY, REPOSITORY / "perf")
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stdout == "looking for owner/model in the hub's local cache and on the hub\n"
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("fixtures.models.ModelError: model 'owner/model' is neither in the local hub cache nor")
        assert "--model PATH" in last


class TestLoad:
    def test_too_little_memory_is_told_with_sizes(
        self, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sizes come from the config alone, before any weight is read: 2**21 x 64 x 4 bytes, and a folder without."""
        config = json.loads((tiny.folder / "config.json").read_text())
        (tmp_path / "wide").mkdir()
        (tmp_path / "wide/config.json").write_text(json.dumps(config | {"vocab_size": 2**21}))
        monkeypatch.setattr(devices, "free_bytes", lambda device: 2**28)
        message = r"^out of memory: wide under fp32 needs 0\.5 GiB .*, 0\.2 GiB are free on cpu; choose another"
        with pytest.raises(ModelError, match=message):
            load(tmp_path / "wide", quantization.scheme("fp32"), "cpu")

    def test_just_enough_memory_is_enough(self, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        needed = tiny.loaded().theory_bytes
        monkeypatch.setattr(devices, "free_bytes", lambda device: needed)
        tiny.load("fp32")
        monkeypatch.setattr(devices, "free_bytes", lambda device: needed - 1)
        with pytest.raises(ModelError, match="out of memory"):
            tiny.load("fp32")

    def test_model_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        from transformers import ViTConfig, ViTModel

        shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        ViTModel(ViTConfig(**shape, image_size=16, patch_size=8)).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="no causal language model that transformers can load"):
            load(tmp_path, quantization.scheme("fp32"), "cpu")

    def test_config_that_is_no_config_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
        with pytest.raises(ModelError, match="no causal language model that transformers can load"):
            load(tmp_path, quantization.scheme("fp32"), "cpu")

    @pytest.mark.parametrize(
        ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.half)]
    )
    def test_loads_in_the_schemes_precision_whatever_was_stored(self, tiny: Any, name: str, dtype: torch.dtype) -> None:
        model = tiny.loaded(name).model
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert not model.training

    def test_no_generation_setting_of_the_model_applies(self, tmp_path: Path, save_model: Callable[..., Any]) -> None:
        tiny = save_model(tmp_path)
        plain = tiny.load("fp32")
        one = encode(plain.tokenizer, "q", "Tell me about the sea.")
        expected = generate([one], plain, attention.use(plain.model, "eager"), 6, WallClock())
        settings = {
            "do_sample": True,
            "temperature": 5.0,
            "eos_token_id": [expected.tokens[0][1], 1],
            "repetition_penalty": 9.0,
            "num_beams": 3,
            "max_length": 3,
            "bad_words_ids": [[expected.tokens[0][0]]],
        }
        (tmp_path / "generation_config.json").write_text(json.dumps(settings))
        loaded = tiny.load("fp32")
        found = generate([one], loaded, attention.use(loaded.model, "eager"), 6, WallClock())
        assert found == expected

    def test_padding_token_falls_back(self, tmp_path: Path, save_model: Callable[..., Any]) -> None:
        tiny = save_model(tmp_path)
        config = json.loads((tmp_path / "tokenizer_config.json").read_text())
        found = []
        for missing in ((), ("pad_token",), ("pad_token", "eos_token")):
            kept = {key: value for key, value in config.items() if key not in missing}
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(kept))
            found.append(tiny.load("fp32").model.generation_config.pad_token_id)
        assert found == [0, 1, 0]


def test_cast_message_is_silenced_and_only_that_one(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    loaded = tiny.loaded("int8")
    caplog.clear()  # importing bitsandbytes on some CPUs says that a kernel of the hub could not be loaded
    with caplog.at_level(logging.WARNING), torch.no_grad():
        loaded.model(input_ids=torch.arange(5, 9)[None])
        assert caplog.messages == []
        logger.warning("MatMul8bitLt: inputs will be cast from float32 to float16 during quantization")
        assert caplog.messages == []
        logger.warning("MatMul8bitLt: something else")
        logging.getLogger("bitsandbytes").warning("inputs will be cast from here to there")
        assert caplog.messages == ["MatMul8bitLt: something else", "inputs will be cast from here to there"]


def test_the_message_is_still_what_bitsandbytes_logs(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Without the filter it appears: the filter is needed, and its words are the library's."""
    logger = logging.getLogger("bitsandbytes.autograd._functions")
    loaded = tiny.loaded("int8")
    kept, logger.filters = logger.filters, []
    try:
        with caplog.at_level(logging.WARNING), torch.no_grad():
            loaded.model(input_ids=torch.arange(5, 9)[None])
    finally:
        logger.filters = kept
    assert any("inputs will be cast from" in message for message in caplog.messages)


class TestDeviceMap:
    def test_every_layer_on_a_cpu(self, tiny: Any) -> None:
        loaded = models.load(tiny.folder, quantization.scheme("fp32"), "cpu", "auto")
        assert loaded.device == "cpu"
        with torch.no_grad():
            assert loaded.model(input_ids=torch.arange(5, 9)[None]).logits.shape == (1, 4, 128)

    def test_accelerate_spreads_what_one_device_does_not_hold(self, tiny: Any) -> None:
        """What transformers' "auto" asks accelerate for, with two devices that hold a part each."""
        from accelerate import infer_auto_device_map

        shapes = models._shapes_only(tiny.folder)
        holds = sum(p.nbytes for p in shapes.parameters())
        placed = infer_auto_device_map(
            shapes, max_memory={0: holds, 1: holds}, no_split_module_classes=["LlamaDecoderLayer"]
        )
        assert set(placed.values()) == {0, 1}

    @pytest.fixture
    def two_gpus(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
        free = {"cuda:0": 2**20, "cuda:1": 2**30}
        monkeypatch.setattr(models.devices, "like", lambda device: list(free))
        monkeypatch.setattr(models.devices, "free_bytes", free.__getitem__)
        return free

    def test_a_model_that_one_device_does_not_hold_names_the_option(
        self, tiny: Any, two_gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_gpus["cuda:0"] = 1000
        with pytest.raises(models.ModelError, match=r"are free on cuda:0; .* with --device-map auto"):
            models.load(tiny.folder, quantization.scheme("fp32"), "cuda:0")
        two_gpus["cuda:1"] = 1000
        with pytest.raises(models.ModelError, match="are free on cuda:0, cuda:1; choose another --quantization or a"):
            models.load(tiny.folder, quantization.scheme("fp32"), "cuda:0", "auto")

    def test_layers_that_went_to_the_cpu_are_refused(
        self, tiny: Any, two_gpus: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """transformers puts on the CPU, or on disk, what the devices do not hold: then those are what is measured."""
        import transformers

        asked: list[Any] = []

        def from_pretrained(folder: Path, **arguments: Any) -> Any:
            asked.append(arguments["device_map"])
            model = tiny.loaded().model
            monkeypatch.setattr(model, "hf_device_map", {"model.layers.0": 0, "lm_head": "cpu"}, raising=False)
            return model

        monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
        with pytest.raises(
            models.ModelError, match="parts of the model were put on cpu, which measures them: out of m"
        ):
            models.load(tiny.folder, quantization.scheme("fp32"), "cuda:0", "balanced")
        assert asked == ["balanced"]


class TestPool:
    def test_rows_of_a_scheme_share_the_model(self, tiny: Any) -> None:
        pool = ModelPool(source(str(tiny.folder)), "cpu", quiet)
        assert pool.get("fp32") is pool.get("fp32")

    def test_another_scheme_drops_the_model_before_it_loads(self, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = ModelPool(source(str(tiny.folder)), "cpu", quiet)
        first = weakref.ref(pool.get("fp32").model)
        weight = weakref.ref(first().model.embed_tokens.weight)
        alive: list[object] = []
        real = models.load

        def watched(*args: Any) -> Any:
            alive.extend([first(), weight()])
            return real(*args)

        monkeypatch.setattr(models, "load", watched)
        assert pool.get("bf16").scheme.name == "bf16"
        assert alive == [None, None]
        gc.collect()
        assert pool.get("fp32").scheme.name == "fp32"

    def test_folder_is_found_once(self, tiny: Any) -> None:
        found: list[str] = []

        def find(say: Callable[[str], None]) -> Path:
            say("looking")
            return tiny.folder

        pool = ModelPool(models.ModelSource("a", "a", "made up", find), "cpu", found.append)
        assert found == []  # a pool alone fetches nothing
        assert pool.folder == pool.folder == tiny.folder
        pool.get("fp32")
        assert found == ["looking"]
