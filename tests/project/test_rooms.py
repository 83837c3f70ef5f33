"""perfgate's rooms: each says of itself what the contracts in pyproject.toml hold the others to."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
DOORS = {
    contract["id"].removeprefix("door-"): {line.rpartition(".")[2] for line in contract["ignore_imports"]}
    for contract in CONTRACTS
    if contract["type"] == "protected"
}
ROOMS = sorted(path.parent.name for path in (ROOT / "perf" / "perfgate").glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_names_its_door(room: str) -> None:
    source = (ROOT / "perf" / "perfgate" / room / "__init__.py").read_text(encoding="utf-8")
    text = re.search(
        r"^Door \(what other rooms may import\): (.*?)\.$", ast.get_docstring(ast.parse(source)) or "", re.M | re.S
    )
    assert text is not None
    assert set(re.findall(r"``(\w+)``", text[1])) == DOORS.get(room, set())
    assert ("every module" in text[1]) == (room not in DOORS)
