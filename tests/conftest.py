"""A small project that uses perfgate and knows nothing about language models; tests of the hooks run pytest in it."""

import gc
import json
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fixtures.checkpoint import Folder
from tests.evidence import (  # noqa: F401  # hooks: they are here to be found
    pytest_collection_modifyitems,
    pytest_runtest_setup,
    pytest_terminal_summary,
)

pytest_plugins = ["pytester"]

OPTIONAL = (
    *("accelerate", "axe_playwright_python", "bitsandbytes", "cmarkgfm", "gguf", "hypothesis", "optimum", "PIL"),
    *("platformdirs", "playwright", "pynvml", "triton", "yaml", "zizmor"),
)
"""What a GPU machine may lack. A module of tests that needs one of them is skipped there, with this reason, and the
collection of the others goes on."""


class Tests(pytest.Module):
    """A module of tests, perhaps with an import that cannot be done here."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as wrong:
            missing = getattr(wrong.__cause__, "name", None) or ""
            name = missing.partition(".")[0]
            if isinstance(wrong.__cause__, ModuleNotFoundError) and name in OPTIONAL:
                pytest.skip(f"needs {name}, which is not installed: pip install -e '.[test]'", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> Tests:
    return Tests.from_parent(parent, path=module_path)


def pytest_collection_finish() -> None:
    """What importing and collecting have made stays until the end: searching for garbage need not go through it, which
    takes a tenth of the time of these tests otherwise."""
    gc.collect()
    gc.freeze()


os.environ.pop("GITHUB_STEP_SUMMARY", None)  # on CI the inner runs' reports belong nowhere

PERF = Path(__file__).parents[1] / "perf"

CONFTEST = """
    import itertools

    import pytest
    from perfgate.measure.clocks import FakeClock
    from perfgate.measure.measurement import Instruments
    from perfgate.measure.memory import BALLAST_BYTES, FakeMeter
    from perfgate.report import Column, Section, Table, mebibytes, milliseconds
    from perfgate.plugin import session

    ROUNDS = (0.0, 1.0, 0.0, 1.5, 0.0, 1.25)  # the clock's steps: rounds of 1.0, 1.5 and 1.25 seconds, again and again

    @pytest.hookimpl(trylast=True)
    def pytest_configure(config):
        instruments = Instruments(FakeClock(itertools.cycle(ROUNDS)), FakeMeter(BALLAST_BYTES))
        session.of(config).workbench.instruments = instruments

    def pytest_benchmark_generate_machine_info():
        return {}  # pytest-benchmark's own takes a second

    def pytest_perfgate_sections(config, records):
        columns = [
            Column("case", "sum"),
            Column("latency_s", "ms", milliseconds),
            Column("peak_memory_bytes", "MiB", mebibytes),
        ]
        rows = [
            {"case": record.key, "latency_s": record.value("latency_s"),
             "peak_memory_bytes": record.value("peak_memory_bytes")}
            for record in records
        ]
        return [Section("sums", "All the sums", ["Sums of small numbers."], Table(columns, rows), ["a note on sums"])]
"""

BENCHMARK = """
    from dataclasses import dataclass
    from typing import ClassVar

    from perfgate import Case, Row, Work, cases, part

    @dataclass(frozen=True, kw_only=True)
    class SumCase(Case):
        benchmark: ClassVar[str] = "sums"
        how: str = part()
        count: int = part("n{}")
        start: int = part("from{}", default=0)

    def loop(numbers):
        total = 0
        for number in numbers:
            total += number
        return total

    def table(config):
        yield Row(SumCase(how="builtin", count=10), quick=True)
        yield Row(SumCase(how="loop", count=10))
        yield Row(SumCase(how="builtin", count=99), unavailable="this machine cannot count to 99")
        yield Row(SumCase(how="loop", count=99), selected=False)

    @cases(table)
    def test_sums(case, measure):
        def check(total):
            assert total == 45

        fn = {"builtin": sum, "loop": loop}[case.how]
        measure(fn, range(case.start, case.count), check=check, weights_bytes=2**20)
"""


class Project:
    """A folder with one benchmark, ``sums``, of four rows: two run, one is unavailable, one is not selected.

    Its clock shows rounds of 1, 1.5 and 1.25 seconds in turn, and its memory meter always 1 MiB, on top of which the
    benchmark states 1 MiB of weights.
    """

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_sums=BENCHMARK)

    def benchmark(self, source: str) -> None:
        """Replace the benchmark by ``source``."""
        self.pytester.makepyfile(test_sums=source)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process, which is why it must not pin anything."""
        return self.pytester.runpytest_inprocess("--perfgate-no-pins", *arguments)

    def run_subprocess(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*arguments, timeout=60)

    def results(self, folder: str = "perf-report") -> dict[str, Any]:
        return json.loads((self.path / folder / "results.json").read_text(encoding="utf-8"))

    def records(self) -> dict[str, dict[str, Any]]:
        """The records of results.json by key."""
        return {record["case"]["key"]: record for record in self.results()["records"]}

    def summary(self) -> str:
        return (self.path / "perf-report" / "summary.md").read_text(encoding="utf-8")


@pytest.fixture
def no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """No forced garbage collections: beside torch, one takes longer than a whole test."""
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, no_collections: None) -> Project:
    monkeypatch.setenv("PYTHONPATH", str(PERF), prepend=os.pathsep)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the same whatever else is installed
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_benchmark.plugin,perfgate.plugin")
    monkeypatch.setenv("COLUMNS", "120")
    return Project(pytester)


# The tiny model of the suite's tests. Threads that wait must sleep: on cores that other processes use too, a spinning
# thread holds up the one it waits for, and a matrix product of microseconds takes 15 ms. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer() -> Any:
    """A tokenizer with one token for each printable ASCII character, a chat template, and padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|unknown|>"]
    letters = ["Ġ", "Ċ", *map(chr, range(33, 127))]  # a space and a line break, as byte-level tokenizers write them
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<|unknown|>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unknown|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(**changes: Any) -> Any:
    """A seeded random Llama: 2 layers, 4 heads over 2 key/value heads, tied head; ``changes`` go into its config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "vocab_size": 128,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,  # wide enough that the most likely token depends on the text
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape | changes)).eval()


class Tiny:
    """A tiny model's folder, and the model loaded under each scheme, once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = Folder(folder)
        self._loaded: dict[str, Any] = {}

    def load(self, scheme: str) -> Any:
        """A fresh :class:`fixtures.models.Loaded` that a test may change."""
        from fixtures import models, quantization

        return models.load(self.checkpoint, quantization.scheme(scheme), "cpu")

    def loaded(self, scheme: str = "fp32") -> Any:
        """The shared :class:`fixtures.models.Loaded`; a test may switch its attention, and nothing else."""
        if scheme not in self._loaded:
            self._loaded[scheme] = self.load(scheme)
        return self._loaded[scheme]


@pytest.fixture(scope="session")
def save_model() -> Callable[..., Tiny]:
    """Save a tiny model with its tokenizer to a folder: ``save_model(folder, **changes_of_its_config)``."""

    def save(folder: Path, **changes: Any) -> Tiny:
        make_model(**changes).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return Tiny(folder)

    return save


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, save_model: Callable[..., Tiny]) -> Tiny:
    """The tiny model that most tests of the suite share."""
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


# How far to search: HYPOTHESIS_PROFILE=thorough for a nightly run. The quick one draws the same examples every time, so
# that one commit has one verdict; there is no deadline, because the first example of a test also pays for imports.
if find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("quick", max_examples=100, derandomize=True, deadline=None)
    settings.register_profile("thorough", max_examples=3000, deadline=None, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
