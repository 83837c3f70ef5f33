"""Encoding, padding and greedy generation of a fixed number of tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from perfgate.clocks import FakeClock, WallClock

from fixtures import attention, quality
from fixtures.generation import (
    PROBE_TAIL_TOKENS,
    Encoded,
    Generation,
    batches,
    encode,
    generate,
    generate_with_logits,
    has_chat_template,
    left_padded,
    shorten,
)

HERE = [
    pytest.param(name, marks=pytest.mark.slow) if name == "flex" else name  # what it compiles takes half a minute
    for name, backend in attention.backends().items()
    if backend.unavailable("cpu") is None
]
TEXTS = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly.", "Spell it.")


@pytest.fixture
def tokenizer(tiny: Any) -> Any:
    """The tiny tokenizer: a token a character, and a chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.folder)


@pytest.fixture
def plain_tokenizer(tokenizer: Any) -> Any:
    tokenizer.chat_template = None
    return tokenizer


def words(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("text", [*TEXTS, "<|user|> and <|end|> in a text", "|x<", " spaces ", "two\nlines"])
def test_encode_finds_the_persons_words_in_the_template(tokenizer: Any, text: str) -> None:
    one = encode(tokenizer, "q", text)
    assert one.prompt_id == "q"
    assert words(tokenizer, one.token_ids) == f"<|user|>{text}<|end|><|assistant|>"
    assert words(tokenizer, one.token_ids[one.text_start : one.text_stop]) == text


def test_encode_adds_no_special_tokens_to_a_template(tokenizer: Any) -> None:
    """A template writes its own start of text; a tokenizer that adds one more would double it."""
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", 1)]
    )
    assert tokenizer("x")["input_ids"][0] == 1
    assert encode(tokenizer, "q", "x").token_ids[0] == tokenizer.convert_tokens_to_ids("<|user|>")
    tokenizer.chat_template = None
    assert encode(tokenizer, "q", "x").token_ids[0] == 1


def test_encode_without_template_takes_the_plain_prompt(plain_tokenizer: Any) -> None:
    assert not has_chat_template(plain_tokenizer)
    one = encode(plain_tokenizer, "q", "Hi there")
    assert words(plain_tokenizer, one.token_ids) == "Hi there"
    assert (one.text_start, one.text_stop) == (0, len(one.token_ids))


@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("length", [60, 100, 129])
def test_shorten_keeps_beginning_ending_and_template(tokenizer: Any, template: bool, length: int) -> None:
    if not template:
        tokenizer.chat_template = None
    long = encode(tokenizer, "long", "a" * 150 + "Now answer: " + "b" * 50)
    short = shorten(long, length)
    assert len(short.token_ids) == length
    text = words(tokenizer, short.token_ids[short.text_start : short.text_stop])
    assert text == "a" * (len(text) - PROBE_TAIL_TOKENS) + "b" * PROBE_TAIL_TOKENS
    around = ("<|user|>", "<|end|><|assistant|>") if template else ("", "")
    assert words(tokenizer, short.token_ids) == text.join(around)


def test_shorten_to_its_own_length_changes_nothing(tokenizer: Any) -> None:
    long = encode(tokenizer, "long", "abc" * 50)
    assert shorten(long, len(long.token_ids)) == long


@pytest.mark.parametrize("length", [154, 51, 1])
def test_shorten_refuses_what_it_cannot_keep(tokenizer: Any, length: int) -> None:
    """153 tokens: the template's 3 and 150 of text; the last 48 of the text and the template must stay."""
    long = encode(tokenizer, "long", "abc" * 50)
    with pytest.raises(ValueError, match=f"prompt 'long' has 153 tokens; it cannot be cut to {length}"):
        shorten(long, length)


def test_shorten_refuses_a_text_shorter_than_its_tail(tokenizer: Any) -> None:
    short = encode(tokenizer, "long", "abc")
    with pytest.raises(ValueError, match="it cannot be cut to 6"):
        shorten(short, 6)


def one_of_each_length(*lengths: int) -> list[Encoded]:
    return [Encoded(str(n), tuple(range(10, 10 + n)), 0, n) for n in lengths]


def test_left_padded_ends_together() -> None:
    ids, mask = left_padded(one_of_each_length(2, 4), pad_token_id=7, device="cpu")
    assert ids.tolist() == [[7, 7, 10, 11], [10, 11, 12, 13]]
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (5, [5]), (9, [5])], ids=lambda value: str(value)
)
def test_batches_keep_the_order_and_lose_nothing(batch_size: int, sizes: list[int]) -> None:
    inputs = one_of_each_length(1, 2, 3, 4, 5)
    made = batches(inputs, batch_size)
    assert [len(batch) for batch in made] == sizes
    assert list(itertools.chain(*made)) == inputs


@pytest.mark.parametrize("new_tokens", [1, 5])
def test_generates_exactly_as_many_tokens_though_end_of_text_is_most_likely(tiny: Any, new_tokens: int) -> None:
    loaded = tiny.load("fp32")
    eos = loaded.tokenizer.eos_token_id
    loaded.model.lm_head.register_forward_hook(
        lambda module, args, logits: logits.index_fill(-1, torch.tensor(eos), 99)
    )
    inputs = [encode(loaded.tokenizer, str(i), text) for i, text in enumerate(TEXTS[:2])]
    found = generate(inputs, loaded, attention.use(loaded.model, "eager"), new_tokens, WallClock())
    assert found.tokens == ((eos,) * new_tokens,) * 2


def test_times_every_token_once(tiny: Any) -> None:
    """The clock ticks 2, 3, 4, ... seconds; the call begins at the first reading."""
    loaded = tiny.loaded()
    clock = FakeClock(itertools.count(2.0))
    found = generate([encode(loaded.tokenizer, "q", "Hi")], loaded, attention.use(loaded.model, "eager"), 4, clock)
    times = found.token_times_s
    assert len(times) == 4
    assert times[0] > 0
    assert all(before < after for before, after in itertools.pairwise(times))
    assert found.ttft_s == times[0]
    assert found.tpot_s == pytest.approx((times[3] - times[0]) / 3)
    assert found.samples() == {"ttft_s": found.ttft_s, "tpot_s": found.tpot_s}


def test_one_token_has_no_time_per_later_token() -> None:
    assert Generation(((5,),), (0.5,)).samples() == {"ttft_s": 0.5}


def test_times_do_not_make_generations_differ() -> None:
    assert Generation(((5,),), (0.5,)) == Generation(((5,),), (0.7,))
    assert Generation(((5,),), (0.5,)) != Generation(((6,),), (0.5,))


def test_takes_the_most_likely_token_of_a_plain_forward_pass(tiny: Any) -> None:
    loaded = tiny.loaded()
    one = encode(loaded.tokenizer, "q", TEXTS[0])
    backend = attention.use(loaded.model, "eager")
    found, logits = generate_with_logits([one], loaded, backend, 5, WallClock())
    ids = list(one.token_ids)
    for step in range(5):
        with torch.no_grad():
            plain = loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        # With and without cache the same sums run in another order: a few dozen roundings of logits of a few units.
        torch.testing.assert_close(logits[0, step], plain, rtol=0, atol=1e-4)
        ids.append(int(plain.argmax()))
    assert tuple(ids[len(one.token_ids) :]) == found.tokens[0]
    assert len(set(found.tokens[0])) > 1  # a model that says one thing only would prove nothing
    assert generate([one], loaded, backend, 5, WallClock()) == found


@pytest.mark.parametrize("name", HERE)
def test_padded_batch_generates_each_inputs_own_tokens(tiny: Any, name: str) -> None:
    loaded = tiny.loaded()
    backend = attention.use(loaded.model, name)
    inputs = [encode(loaded.tokenizer, str(i), text) for i, text in enumerate(TEXTS)]
    together = generate(inputs, loaded, backend, 5, WallClock()).tokens
    alone = tuple(generate([one], loaded, backend, 5, WallClock()).tokens[0] for one in inputs)
    assert together == alone


def test_broken_weight_is_found_in_the_logits(tiny: Any) -> None:
    loaded = tiny.load("fp32")
    with torch.no_grad():
        loaded.model.model.embed_tokens.weight[37] = float("nan")  # the head is tied to it: one bad logit a token
    backend = attention.use(loaded.model, "eager")
    one = Encoded("q", (10, 11, 12), 0, 3)
    _, logits = generate_with_logits([one], loaded, backend, 1, WallClock())
    with pytest.raises(
        quality.QualityError, match=r"^a row: 1 of 128 logits are NaN or Inf, the first at index \[0, 0, 37\]$"
    ):
        quality.require_finite(logits, "a row")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_first_bad_logit_is_named(value: float) -> None:
    logits = torch.zeros(2, 3, 4)
    quality.require_finite(logits, "int8")
    logits[1, 0, 2] = logits[1, 2, 3] = value
    with pytest.raises(
        quality.QualityError, match=r"^int8: 2 of 24 logits are NaN or Inf, the first at index \[1, 0, 2\]$"
    ):
        quality.require_finite(logits, "int8")
