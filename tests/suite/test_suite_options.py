"""The suite's command line: help, errors, and the rows that it selects; pytest runs in processes of its own.

Collecting takes a second and loads no torch, which is itself one of the tests.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from fixtures import attention, quantization
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
    assert rows == {"generation": IDS, "generation_all_cores": ("bf16-sdpa-flash",), "generation_long": LONG_IDS}
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
