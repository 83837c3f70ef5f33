"""The suite's command line: help, errors, and the rows that it selects; pytest runs in processes of its own.

Collecting takes a second and loads no torch, which is itself one of the tests.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from perfgate import Row
from perfgate.plugin.session import CONTEXT

from fixtures import attention, options, quantization
from fixtures.case_tables import generation
from fixtures.options import SETTINGS, SuiteSettings
from tests.support.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = (
    "fp32-eager",
    "fp32-sdpa-math",
    "fp32-sdpa-flash",
    "fp32-fa1",
    "fp32-fa2",
    "fp32-fa1-fa2",
    "bf16-sdpa-flash",
    "int8-eager",
    "int8-fa2",
    "nf4-eager",
    "nf4-fa2",
    "nf4-dq-fa2",
    "fp4-fa2",
)
"""The experiment's rows on a CPU: stored baselines are found by these names."""
LONG_IDS = ("fp32-eager-p1000-n4", "fp32-sdpa-flash-p1000-n4", "fp32-fa2-p1000-n4")
USAGE_ERROR = 4
SHAPES = "shapes:llama-2-7b, shapes:llama-3.1-8b, shapes:smollm2-135m"


def run_pytest(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the repository, on the generation benchmarks, without leaving anything there."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--device", "cpu", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def collected(*arguments: str, **environment: str) -> tuple[dict[str, tuple[str, ...]], str]:
    """Ids of the selected rows by benchmark, and all that pytest wrote."""
    done = run_pytest("perf/test_generation.py", "--collect-only", "-q", *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"test_(generation\w*)\[(.*)\]", done.stdout)
    return {name: tuple(one for benchmark, one in found if benchmark == name) for name in dict(found)}, done.stdout


def test_default_rows_are_the_experiments_and_loading_them_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "loaded_libraries.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    heavy = ('torch', 'transformers', 'bitsandbytes', 'numpy', 'scipy', 'huggingface_hub')\n"
        "    print('loaded:', [name for name in heavy if name in sys.modules])\n"
    )
    rows, output = collected("-s", "-p", "loaded_libraries", **finding(tmp_path))
    assert rows == {"generation": IDS, "generation_long": LONG_IDS}
    assert "loaded: []\n" in output


def test_everything_at_once_keeps_the_order_of_the_fields(tmp_path: Path) -> None:
    content, config = b'{"text": "Hello"}\n', b"{}"
    (tmp_path / "My Inputs.jsonl").write_bytes(content)
    (tmp_path / "My Model").mkdir()
    (tmp_path / "My Model/config.json").write_bytes(config)
    model, name = (hashlib.sha256(data).hexdigest()[:8] for data in (config, content))
    rows, _ = collected(
        *("--quantization", "fp32", "--attention", "eager,fa1+fa2", "--model", str(tmp_path / "My Model")),
        *("--prompts", str(tmp_path / "My Inputs.jsonl"), "--new-tokens", "3", "--batch-size", "2"),
    )
    rest = f"my-model-{model}-my-inputs-{name}"
    assert rows == {
        "generation": (f"fp32-eager-{rest}-n3-b2", f"fp32-fa1-fa2-{rest}-n3-b2"),
        "generation_long": (f"fp32-eager-p1000-n4-{rest}",),
    }


Parse = Callable[..., SuiteSettings]


@pytest.fixture
def parse(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Make settings from option values, in this process."""

    def parse(**values: object) -> SuiteSettings:
        for name, value in values.items():
            monkeypatch.setattr(pytestconfig.option, name, value)
        return options.from_config(pytestconfig)

    return parse


Rows = Callable[..., list[Row]]
Ids = Callable[..., list[str]]


@pytest.fixture
def selected(parse: Parse) -> Rows:
    """List the rows that option values select from a table of the benchmark, in this process."""

    def select(table: str, device: str = "cpu", **values: object) -> list[Row]:
        config = SimpleNamespace(stash={SETTINGS: parse(**values), CONTEXT: SimpleNamespace(device=device)})
        return [row for row in getattr(generation, table)(config) if row.selected]

    return select


@pytest.fixture
def ids(selected: Rows) -> Ids:
    """List the ids of these rows, or of those among them that are quick."""

    def select(table: str, device: str = "cpu", quick: bool = False, **values: object) -> list[str]:
        return [row.case.id for row in selected(table, device, **values) if row.quick or not quick]

    return select


@pytest.mark.parametrize(
    ("quantization", "attention", "rows", "long"),
    [
        ("int8,nf4", None, ["int8-eager", "int8-fa2", "nf4-eager", "nf4-fa2"], []),
        ("nf4-dq", None, ["nf4-dq-fa2"], []),
        ("fp16", None, ["fp16-eager"], []),  # no default row has it: it gets one of its own
        (None, "fa1", ["fp32-fa1"], []),
        (None, "sdpa-math, fa1+fa2", ["fp32-sdpa-math", "fp32-fa1-fa2"], []),
        (None, "sdpa-flash", ["fp32-sdpa-flash", "bf16-sdpa-flash"], ["fp32-sdpa-flash-p1000-n4"]),
        (
            "fp32,fp4-dq",
            "fa1,eager",
            ["fp32-eager", "fp32-fa1", "fp4-dq-fa1", "fp4-dq-eager"],
            ["fp32-eager-p1000-n4"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_select_rows(
    ids: Ids, quantization: str | None, attention: str | None, rows: list[str], long: list[str]
) -> None:
    """One list narrows the default rows; two mean every combination, whether it is a default row or not."""
    assert ids("generation_rows", quantization=quantization, attention=attention) == rows
    assert ids("long_rows", quantization=quantization, attention=attention) == long


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        ({"new_tokens": 16}, "-n16"),
        ({"batch_size": 4}, "-b4"),
        ({"prompts": "ja"}, "-ja"),
        ({"device_map": "auto"}, "-auto"),
    ],
)
def test_an_option_changes_only_its_own_field_of_the_id(ids: Ids, values: dict[str, object], suffix: str) -> None:
    assert ids("generation_rows", **values) == [f"{one}{suffix}" for one in IDS]
    inputs = suffix if {"prompts", "device_map"} & values.keys() else ""
    assert ids("long_rows", **values) == [f"{one}{inputs}" for one in LONG_IDS]


def test_stated_defaults_are_the_defaults(ids: Ids) -> None:
    stated = {"new_tokens": 8, "batch_size": 1, "prompts": "en", "model": "smollm2-135m"}
    assert tuple(ids("generation_rows", **stated)) == IDS


def test_quick_is_a_subset_with_the_same_ids(ids: Ids) -> None:
    assert ids("generation_rows", quick=True) == ["fp32-eager", "fp32-fa2", "nf4-fa2"]
    assert ids("long_rows", quick=True) == []
    assert ids("generation_rows", quick=True, new_tokens=5) == ["fp32-eager-n5", "fp32-fa2-n5", "nf4-fa2-n5"]


def test_an_accelerator_has_rows_of_its_own(ids: Ids) -> None:
    rows = ids("generation_rows", device="cuda:0")
    assert "bf16-fa1-flash-attn-2-n32-cuda" in rows  # without the index: another card of the machine is the same case
    assert all(one.endswith("-n32-cuda") for one in rows)
    assert ids("long_rows", device="cuda:0")[0] == "bf16-eager-p1000-n4-cuda"


@pytest.mark.parametrize(
    ("device", "scheme", "batch_size", "runs"),
    [
        ("cuda:0", "bf16", 1, True),
        ("cuda:0", "bf16", 4, False),  # a batch of several prompts is padded
        ("cuda:0", "fp32", 1, False),
        ("cpu", "bf16", 4, True),
        ("cpu", "fp32", 1, True),
    ],
)
def test_a_row_that_flash_cannot_compute_on_cuda_is_unavailable(
    selected: Rows, device: str, scheme: str, batch_size: int, runs: bool
) -> None:
    """There torch's flash kernel takes no mask and no 32 bit, and a row that ran all the same would crash."""
    (row,) = selected("generation_rows", device, quantization=scheme, attention="sdpa-flash", batch_size=batch_size)
    assert (row.unavailable is None) is runs


def test_help_names_every_choice() -> None:
    done = run_pytest("--help")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    section = words[words.index("the experiment: models, inputs, quantization and attention:") :]
    expected = {
        "--model=NAME": ["smollm2-135m", "a folder with config.json", "hub id", "Default: smollm2-135m"],
        "--prompts=SET": ["en, ja", "FILE.jsonl", "Default: en"],
        "--new-tokens=N": ["default 8 on a CPU, else 32"],
        "--batch-size=N": ["padded on the left", "Default: 1"],
        "--quantization=NAMES": [", ".join(quantization.schemes())],
        "--attention=NAMES": [", ".join(attention.backends()), "every combination"],
    }
    for position, (option, described) in enumerate(expected.items()):
        start = section.index(option)
        following = [section.find(other, start) for other in [*expected][position + 1 :]]
        text = section[start : following[0] if following else None]
        assert [part for part in described if part not in text] == [], option


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "gpt9"}, f"unknown model 'gpt9'; allowed: smollm2-135m, {SHAPES}, a folder with config.json and"),
        ({"model": "shapes:gpt9"}, f"unknown model 'shapes:gpt9'; allowed: smollm2-135m, {SHAPES}, a folder with"),
        (
            {"model": "shapes:llama-2-7b", "export_scoring": "answers.csv"},
            "--export-scoring: shapes:llama-2-7b has synthetic weights: checks the plumbing, judges no model; its",
        ),
        ({"quantization": "nf4,int3"}, "unknown quantization 'int3'; allowed: fp32, bf16, fp16, int8,"),
        ({"quantization": "nf4,"}, "unknown quantization ''; allowed: fp32, bf16,"),
        ({"attention": "fa9"}, "unknown attention 'fa9'; allowed: eager, sdpa-math, sdpa-flash, sdpa-efficient,"),
        ({"prompts": "fr"}, "unknown prompt set 'fr'; give en, ja or the path of a FILE.jsonl"),
        ({"new_tokens": 0}, "--new-tokens: got 0, expected a whole number of at least 1"),
        ({"batch_size": 0}, "--batch-size: got 0, expected a whole number of at least 1"),
        ({"batch_size": -3}, "--batch-size: got -3, expected a whole number of at least 1"),
    ],
    ids=lambda value: "-".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, dict) else "",
)
def test_wrong_value_is_refused(parse: Parse, values: dict[str, object], message: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        parse(**values)
    assert str(caught.value).startswith(message)


def test_wrong_value_is_one_message_and_exit_4() -> None:
    done = run_pytest("perf", "--attention", "fa9")
    assert done.returncode == USAGE_ERROR
    assert "ERROR: unknown attention 'fa9'; allowed: eager, sdpa-math," in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_broken_prompt_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"text": "fine"}\n{"txt": "Hello"}\n')
    done = run_pytest("perf", "--prompts", str(path))
    assert done.returncode == USAGE_ERROR
    assert f"ERROR: {path}:2: unknown key 'txt'; allowed: text, id, kind" in done.stderr


def test_model_that_cannot_be_had_ends_the_session_once(tmp_path: Path) -> None:
    """Before the first row, and not once for each of 16."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    done = run_pytest("perf/test_generation.py", "--model", str(tmp_path), "--report-dir", str(tmp_path / "report"))
    assert done.returncode == USAGE_ERROR
    assert (done.stdout + done.stderr).count("the model cannot be had: ") == 1
    assert "these are refused" in done.stdout + done.stderr
    assert not (tmp_path / "report").exists()


def test_settings(parse: Parse) -> None:
    found = parse(new_tokens=5, batch_size=3, quantization="nf4, fp32,nf4", attention="fa1+fa2", prompts="ja")
    assert found.quantization == ("nf4", "fp32")  # in the order given, each once
    assert found.attention == ("fa1+fa2",)
    assert (found.batch_size, found.prompts.name) == (3, "ja")
    assert found.new_tokens_on("cpu") == found.new_tokens_on("cuda:0") == 5


def test_new_tokens_follow_the_device(parse: Parse) -> None:
    found = parse(new_tokens=None)
    assert (found.new_tokens_on("cpu"), found.new_tokens_on("cuda:0")) == (8, 32)
    assert (found.quantization, found.attention) == (None, None)
