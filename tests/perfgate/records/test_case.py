"""Cases: test ids, baseline keys and rows."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate import Case, Row, part, slug


@dataclass(frozen=True, kw_only=True)
class Attention(Case):
    benchmark: ClassVar[str] = "attention"
    version: ClassVar[int] = 3
    backend: str = part(render=slug)
    batch_size: int = part("b{}")
    seqlen: int = part("sq{}", default=128)
    causal: bool = part(default=False, render=lambda causal: "causal" if causal else "full")


@dataclass(frozen=True, kw_only=True)
class Pair(Case):
    benchmark: ClassVar[str] = "pair"
    left: str = part()
    right: str = part()


class TestId:
    def test_fields_in_the_order_of_their_declaration(self) -> None:
        case = Attention(causal=True, seqlen=2048, batch_size=8, backend="fa2")
        assert case.id == "fa2-b8-sq2048-causal"
        assert case.key == "attention/fa2-b8-sq2048-causal"

    def test_a_field_at_its_default_is_left_out(self) -> None:
        assert Attention(backend="fa2", batch_size=8).id == "fa2-b8"

    def test_but_not_left_out_of_the_fields(self) -> None:
        case = Attention(backend="fa2", batch_size=8)
        assert list(case.fields.items()) == [("backend", "fa2"), ("batch_size", 8), ("seqlen", 128), ("causal", False)]

    def test_a_new_axis_with_a_default_orphans_no_key(self) -> None:
        @dataclass(frozen=True, kw_only=True)
        class WithWindow(Attention):
            window: int = part("w{}", default=0)

        old = Attention(backend="fa2", batch_size=8, causal=True)
        assert WithWindow(backend="fa2", batch_size=8, causal=True).key == old.key
        assert WithWindow(backend="fa2", batch_size=8, causal=True, window=4).key == f"{old.key}-w4"

    def test_all_fields_at_their_defaults(self) -> None:
        @dataclass(frozen=True, kw_only=True)
        class Plain(Case):
            benchmark: ClassVar[str] = "plain"
            size: int = part(default=1)

        assert Plain().key == "plain/default"

    @pytest.mark.parametrize("text", ["FA2", "fa1+fa2", "a b", "a/b", "日本"])
    def test_characters_outside_the_alphabet_are_refused_with_the_remedy(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"outside \[a-z0-9_\.-\]; render the field through perfgate\.slug"):
            Pair(left=text, right="x")

    def test_cases_with_equal_fields_are_equal_and_hash_alike(self) -> None:
        assert len({Pair(left="a", right="b"), Pair(left="a", right="b")}) == 1


class TestSlug:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("fa1+fa2", "fa1-fa2"), ("AMD EPYC(TM) 7B13", "amd-epyc-tm-7b13"), ("  x  ", "x"), ("a_b.c-d", "a_b.c-d")],
    )
    def test_examples(self, text: str, expected: str) -> None:
        assert slug(text) == expected

    @given(st.text())
    def test_stays_in_the_alphabet_and_is_idempotent(self, text: str) -> None:
        once = slug(text)
        assert set(once) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
        assert slug(once) == once


@pytest.mark.parametrize(
    ("row", "default", "quick", "all_cases"),
    [
        ({}, True, False, True),
        ({"quick": True}, True, True, True),
        ({"extra": True}, False, False, True),
        ({"quick": True, "selected": False}, False, False, False),
    ],
)
def test_which_run_has_a_row(row: dict[str, bool], default: bool, quick: bool, all_cases: bool) -> None:
    one = Row(Pair(left="a", right="x"), **row)
    assert one.chosen(quick=False, all_cases=False) is default
    assert one.chosen(quick=True, all_cases=False) is quick
    assert one.chosen(quick=False, all_cases=True) is all_cases
