"""Which stored cases this suite's own options select: what nobody selected is not missing."""

import ast
import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from perfgate.plugin.session import CONTEXT

from fixtures.options import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = ROOT / "perf/conftest.py"
GENERATION = {
    "scheme": "nf4",
    "attention": "fa2",
    "model": "smollm2-135m",
    "prompts": "en",
    "new_tokens": 8,
    "batch_size": 1,
    "device": "cpu",
    "device_map": "one",
}
LINEAR = {"scheme": "nf4", "in_features": 576, "device": "cpu"}


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("perf_conftest", CONFTEST)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def selects(suite: ModuleType, name: str, fields: dict[str, Any], **chosen: Any) -> bool:
    settings = SimpleNamespace(
        model=SimpleNamespace(slug=chosen.get("model", "smollm2-135m")),
        prompts=SimpleNamespace(name=chosen.get("prompts", "en")),
        batch_size=chosen.get("batch_size", 1),
        new_tokens_on=lambda device: chosen.get("new_tokens", 8),
        quantization=chosen.get("quantization"),
        attention=chosen.get("attention"),
        device_map=chosen.get("device_map", "one"),
    )
    config = SimpleNamespace(stash={SETTINGS: settings, CONTEXT: SimpleNamespace(device=chosen.get("device", "cpu"))})
    return suite.pytest_perfgate_in_scope(config, name, fields)


def test_a_plain_run_selects_everything(suite: ModuleType) -> None:
    assert selects(suite, "generation", GENERATION)
    assert selects(suite, "linear", LINEAR)
    assert selects(suite, "generation_long", GENERATION | {"new_tokens": 4})  # its own number, not the option's


@pytest.mark.parametrize(
    "chosen",
    [
        {"model": "other"},
        {"prompts": "ja"},
        {"batch_size": 4},
        {"device_map": "auto"},
        {"new_tokens": 16},
        {"device": "cuda:0"},
        {"quantization": ("int8",)},
        {"attention": ("eager",)},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_another_choice_leaves_a_stored_row_out(suite: ModuleType, chosen: dict[str, Any]) -> None:
    assert not selects(suite, "generation", GENERATION, **chosen)


def test_a_choice_of_rows(suite: ModuleType) -> None:
    assert selects(suite, "generation", GENERATION, quantization=("nf4", "int8"), attention=("fa2",))
    assert selects(suite, "linear", LINEAR, quantization=("nf4",))
    assert not selects(suite, "linear", LINEAR, attention=("fa2",))  # a choice of attention is about attention
    assert selects(suite, "linear", LINEAR, model="other", prompts="ja", new_tokens=16)


def test_a_change_to_any_module_that_measures_changes_the_fingerprint() -> None:
    """What only reports is left out of the sources, so that a new word in a table does not have every case judged."""
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["perfgate"]["sources"]
    counted = {path for pattern in sources for path in ROOT.glob(pattern)}
    assert set(ROOT.glob("fixtures/**/*.py")) <= counted
    own = {path.stem: path for path in ROOT.glob("perf/*.py")}
    benchmarks = [path for path in own.values() if path.stem.startswith("test_")]
    assert len(benchmarks) >= 5
    for path in benchmarks:
        imported = _imported(path) & own.keys()
        assert {path, *(own[name] for name in imported)} <= counted, f"{path.name} imports {sorted(imported)}"
    assert not counted & set(ROOT.glob("perf/suite_report/*.py"))


def _imported(path: Path) -> set[str]:
    """The first names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
