"""Prompt sets: the built-in texts, files of the user's own, and what is said about a broken one."""

import codecs
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from fixtures.prompts import PROMPT_SETS, Prompt, PromptError, load_prompts

KINDS = {"explain", "extract", "translate", "arithmetic", "write", "summarise"}
GOOD_LINE = b'{"text": "Why is the sky blue?"}\n'


def write_file(folder: Path, content: bytes, name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


class TestBuiltIn:
    @pytest.mark.parametrize("name", PROMPT_SETS)
    def test_twenty_inputs_of_every_kind(self, name: str) -> None:
        prompt_set = load_prompts(name)
        kinds = Counter(prompt.kind for prompt in prompt_set.prompts)
        assert prompt_set.name == name
        assert [prompt.id for prompt in prompt_set.prompts] == [f"{name}{number:02d}" for number in range(1, 21)]
        assert set(kinds) == KINDS
        assert min(kinds.values()) >= 3

    @pytest.mark.parametrize("name", PROMPT_SETS)
    def test_texts_are_distinct_stripped_and_not_empty(self, name: str) -> None:
        texts = [prompt.text for prompt in load_prompts(name).prompts]
        assert all(text and text == text.strip() for text in texts)
        assert len(set(texts)) == len(texts)

    def test_lengths_stay_affordable_on_a_cpu(self) -> None:
        words = [len(prompt.text.split()) for prompt in load_prompts("en").prompts]
        characters = [len(prompt.text) for prompt in load_prompts("ja").prompts]
        assert min(words) >= 10
        assert max(words) <= 50
        assert min(characters) >= 20
        assert max(characters) <= 120

    def test_every_japanese_input_has_kana(self) -> None:
        for prompt in load_prompts("ja").prompts:
            assert re.search("[\u3041-\u3096\u30a1-\u30fa]", prompt.text), prompt.id

    @pytest.mark.parametrize(
        ("name", "least_characters", "question_mark"), [("en", 5_200, "?"), ("ja", 1_250, "か。")], ids=PROMPT_SETS
    )
    def test_long_text_is_long_and_ends_with_a_question(
        self, name: str, least_characters: int, question_mark: str
    ) -> None:
        long_text = load_prompts(name).long_text
        assert long_text is not None
        assert len(long_text) >= least_characters
        assert long_text == long_text.strip()
        assert long_text.endswith(question_mark)

    @pytest.mark.parametrize(
        ("name", "digest"), [("en", "17f379f863e3d1fe"), ("ja", "f828a0634c89c9af")], ids=PROMPT_SETS
    )
    def test_content_is_pinned_because_the_name_is_part_of_baseline_keys(self, name: str, digest: str) -> None:
        prompt_set = load_prompts(name)
        inputs = [f"{prompt.id} {prompt.kind} {prompt.text}" for prompt in prompt_set.prompts]
        content = "\n".join([*inputs, str(prompt_set.long_text)])
        assert hashlib.sha256(content.encode()).hexdigest()[:16] == digest, (
            f"the built-in set {name!r} changed under the same name: bump the version of every benchmark that uses it, "
            "then pin the new digest here"
        )

    def test_set_name_wins_over_a_file_of_that_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "en").write_bytes(GOOD_LINE)
        monkeypatch.chdir(tmp_path)
        assert len(load_prompts("en").prompts) == 20


class TestGoodFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        prompts = (
            Prompt("a", "write", "  two spaces, a \u2028 separator and a \x0c form feed stay "),
            Prompt("b", "詩", "改行\nも\tそのまま"),
        )
        lines = [json.dumps(vars(prompt), ensure_ascii=False) for prompt in prompts]
        loaded = load_prompts(write_file(tmp_path, "\n".join(lines).encode()))
        assert loaded.prompts == prompts
        assert loaded.long_text is None

    def test_defaults_count_blank_lines(self, tmp_path: Path) -> None:
        path = write_file(tmp_path, b'\n{"text": "one"}\n \t\n{"text": "two", "id": "own"}\n{"text": "three"}')
        assert load_prompts(path).prompts == (
            Prompt("line0002", "other", "one"),
            Prompt("own", "other", "two"),
            Prompt("line0005", "other", "three"),
        )

    def test_crlf_and_byte_order_mark_change_no_text(self, tmp_path: Path) -> None:
        lines = b'{"text": "one"}\n\n{"text": "two"}\n'
        plain = load_prompts(write_file(tmp_path, lines, "plain.jsonl"))
        windows = codecs.BOM_UTF8 + lines.replace(b"\n", b"\r\n")
        assert load_prompts(write_file(tmp_path, windows, "windows.jsonl")).prompts == plain.prompts

    def test_suffix_in_capitals(self, tmp_path: Path) -> None:
        assert len(load_prompts(write_file(tmp_path, GOOD_LINE, "MINE.JSONL")).prompts) == 1


class TestFileName:
    def test_stem_and_content_hash(self, tmp_path: Path) -> None:
        path = write_file(tmp_path, GOOD_LINE, "Support Tickets (v2).jsonl")
        expected = f"support-tickets-v2-{hashlib.sha256(GOOD_LINE).hexdigest()[:8]}"
        assert load_prompts(path).name == expected
        assert load_prompts(path).name == expected

    def test_changes_with_content_but_not_with_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        name = load_prompts(write_file(tmp_path, GOOD_LINE)).name
        assert load_prompts(write_file(folder, GOOD_LINE)).name == name
        assert load_prompts(write_file(tmp_path, GOOD_LINE.replace(b"blue", b"red"))).name != name

    @pytest.mark.parametrize("stem", ["質問", "...", "-", "a b!c", "Ünïcode", "en"])
    def test_only_characters_that_ids_allow(self, tmp_path: Path, stem: str) -> None:
        name = load_prompts(write_file(tmp_path, GOOD_LINE, f"{stem}.jsonl")).name
        assert re.fullmatch(r"[a-z0-9_][a-z0-9_.-]*-[0-9a-f]{8}", name)
        assert name not in PROMPT_SETS


BROKEN_LINES = {
    "invalid json": (b'{"text": "a",}', "invalid JSON"),
    "two objects": (b'{"text": "a"} {"text": "b"}', "invalid JSON, Extra data at column 15"),
    "pretty-printed": (b"{", "invalid JSON"),
    "deep nesting": (b'{"text": ' + b"[" * 200_000, "invalid JSON"),
    "huge number": (b'{"text": ' + b"1" * 5_000 + b"}", "invalid JSON|must be a string"),
    "repeated key": (b'{"text": "a", "text": "b"}', "the same key twice"),
    "list": (b'["a"]', "expected a JSON object, got list"),
    "bare string": (b'"a"', "expected a JSON object, got str"),
    "null": (b"null", "expected a JSON object, got NoneType"),
    "missing text": (b'{"id": "a"}', '"text" is missing'),
    "empty text": (b'{"text": ""}', '"text" must not be empty'),
    "blank text": ('{"text": " \\t\u3000"}'.encode(), '"text" must not be empty'),
    "number as text": (b'{"text": 3}', '"text" must be a string, got int'),
    "null text": (b'{"text": null}', '"text" must be a string, got NoneType'),
    "number as id": (b'{"text": "a", "id": 3}', '"id" must be a string, got int'),
    "empty kind": (b'{"text": "a", "kind": ""}', '"kind" must not be empty'),
    "unknown key": (b'{"text": "a", "prompt": "b"}', "unknown key 'prompt'; allowed: text, id, kind"),
    "duplicate id": (b'{"text": "a", "id": "x"}', "duplicate id 'x', first used on line 2"),
    "id taken by a default": (b'{"text": "a", "id": "line0001"}', "duplicate id 'line0001', first used on line 1"),
    "invalid utf-8": (b'{"text": "caf\xe9"}', "invalid UTF-8, byte 0xe9 at byte 14 of the line"),
    "half a surrogate pair": (b'{"text": "\\ud83d"}', "half a surrogate pair"),
}


class TestBroken:
    @pytest.mark.parametrize(
        ("line", "reason"), BROKEN_LINES.values(), ids=[name.replace(" ", "-") for name in BROKEN_LINES]
    )
    def test_line_is_named_with_its_reason(self, tmp_path: Path, line: bytes, reason: str) -> None:
        before = GOOD_LINE + b'{"text": "fine", "id": "x"}\n\n'
        path = write_file(tmp_path, before + line + b"\n" + GOOD_LINE)
        with pytest.raises(PromptError, match=f"^{re.escape(path)}:4: .*({reason})"):
            load_prompts(path)

    def test_utf16_is_refused_on_its_first_line(self, tmp_path: Path) -> None:
        path = write_file(tmp_path, GOOD_LINE.decode().encode("utf-16"))
        with pytest.raises(PromptError, match=f"^{re.escape(path)}:1: invalid UTF-8.*save the file as UTF-8"):
            load_prompts(path)

    @pytest.mark.parametrize("content", [b"", b"\n \r\n", codecs.BOM_UTF8], ids=["empty", "blank-lines", "only-bom"])
    def test_file_without_inputs(self, tmp_path: Path, content: bytes) -> None:
        path = write_file(tmp_path, content)
        with pytest.raises(PromptError, match=f"^{re.escape(path)}: no inputs in the file"):
            load_prompts(path)

    def test_missing_file(self, tmp_path: Path) -> None:
        path = str(tmp_path / "absent.jsonl")
        with pytest.raises(PromptError, match=f"^{re.escape(path)}: cannot be read .*; give en, ja or the path"):
            load_prompts(path)

    @pytest.mark.parametrize("name", ["folder", "folder.jsonl"])
    def test_directory(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.mkdir()
        with pytest.raises(PromptError, match=f"^{re.escape(str(path))}: is a directory; give en, ja or the path"):
            load_prompts(str(path))

    @pytest.mark.parametrize("name", ["fr", "EN", "", "prompts.txt", ".jsonl", "x" * 5_000], ids=lambda name: name[:20])
    def test_unknown_set(self, name: str) -> None:
        with pytest.raises(PromptError, match=f"^unknown prompt set {re.escape(repr(name))}; give en, ja or the path"):
            load_prompts(name)
