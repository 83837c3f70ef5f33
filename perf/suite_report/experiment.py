"""The experiment's own part of the report: its table, and the comparison's claims checked on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from perfgate.records.record import Record
from perfgate.report import (
    PARTS,
    Column,
    Section,
    Table,
    Value,
    decimals,
    mebibytes,
    milliseconds,
    percent,
    seconds,
    significant,
)

from fixtures import attention, quantization
from fixtures.limits import Limits
from fixtures.synthetic import label_of
from suite_report import experiment_charts, recommendation
from suite_report.recommendation import HUMAN, label

Outcome = Literal["held", "not held", "not judged here"]

SERVED = "generation_served"
"""The benchmark, and the section, of a model of the size that is served on accelerators."""
CLOSE_TOP1 = 0.05
"""8-bit quality is "close to none" when top-1 agreement falls by at most this much."""
SLIGHT_TOP1 = 0.15
"""4-bit is "slightly worse" than 8-bit when top-1 agreement falls by at most this much further."""

NONE = ("32 bit", "16 bit")
FA2 = ("fa2", "fa2-triton", "flash-attn-2")
BOTH = ("fa1+fa2", "fa1+flash-attn-2")
FLASH = ("fa1", "fa1-triton", "flash-attn-1", *FA2, *BOTH)

QUALITY, ENERGY, LOADING = "quality", "energy_per_token_j", "loading_peak_bytes"
COLUMNS = (
    Column("row", "row"),
    Column("weights_bytes", "weights MiB", mebibytes),
    Column("peak_memory_bytes", "peak MiB", mebibytes),
    Column(LOADING, "loading MiB", mebibytes),
    Column("latency_s", "avg s/input", seconds),
    Column("total_s", "total s", decimals(1)),
    Column("throughput_tokens_per_s", "tokens/s", decimals(1)),
    Column("ttft_s", "TTFT ms", milliseconds),
    Column("tpot_s", "TPOT ms", milliseconds),
    Column(QUALITY, "quality", words=True),
    Column("kl_divergence_nats", "KL nats/token", significant(2)),
    Column("top1_agreement", "top-1", percent),
    Column("exact_match_tokens", "exact tokens", decimals(1)),
    Column("perplexity", "perplexity", decimals(2)),
    Column(ENERGY, "J/token", significant(2)),
    Column(HUMAN, "human score", decimals(2)),
)
"""``QUALITY`` is there only where a row is of a synthetic model: why its numbers beside it judge no model. ``HUMAN`` is
there only where a person has scored the answers, ``ENERGY`` where a counter could be read, ``LOADING`` where a meter
weighed it."""

LEAST_IMPORTANT = (
    "total_s",
    LOADING,
    "exact_match_tokens",
    "perplexity",
    ENERGY,
    "weights_bytes",
    "latency_s",
    "kl_divergence_nats",
    "tpot_s",
    "ttft_s",
)
"""The columns that a narrow terminal leaves out, the first one first: speed, peak and quality stay."""

LONG_COLUMNS = (
    Column("row", "row"),
    Column("activation_peak_bytes", "call's peak MiB", mebibytes),
    Column("peak_memory_bytes", "peak MiB", mebibytes),
    Column("latency_s", "median s", seconds),
    Column("ttft_s", "TTFT ms", milliseconds),
    Column("tpot_s", "TPOT ms", milliseconds),
)


@dataclass(frozen=True)
class Claim:
    """One claim of the comparison with what was found here."""

    text: str
    outcome: Outcome
    because: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.text}: {self.because}"


def _family(record: Record) -> str:
    return quantization.scheme(str(record.fields["scheme"])).family


def _value(record: Record, metric: str) -> float:
    value = record.value(metric)
    assert value is not None, f"{record.key} has no {metric}"
    return value


def _row(record: Record, columns: Sequence[Column]) -> dict[str, Value]:
    row: dict[str, Value] = {"row": label(record), "key": record.key}
    row |= {column.key: record.value(column.key) for column in columns[1:]}
    row[QUALITY] = label_of(record.provenance)
    latency = record.metrics.get("latency_s")
    if latency is not None:
        row["total_s"] = sum(latency.samples)
    return row


def sections(records: Sequence[Record], limits: Limits) -> list[Section]:
    """The experiment's sections, the recommendation first; none where no row of it was measured."""
    rows, long, harness = (
        [record for record in records if record.name == name and record.status == "measured"]
        for name in ("generation", "generation_long", "harness")
    )
    out = []
    if rows:
        fields = rows[0].fields
        rounds = len(rows[0].metrics["latency_s"].samples)
        about = (
            f"Model {fields['model']}, prompt set {fields['prompts']}, {rounds} rounds of {fields['batch_size']} "
            f"input(s), {fields['new_tokens']} new tokens each, greedy. Peak is weights plus the call's own peak; TTFT "
            "is the time to the first token, TPOT the time per token after it; KL divergence, top-1 agreement and "
            "exact tokens compare with the unquantized model (eager attention)."
        )
        table = _table(rows)
        recommended = recommendation.recommend(rows, limits)
        charts = [experiment_charts.trade(recommended), experiment_charts.latencies(rows)]
        out += recommendation.sections(recommended)
        out.append(
            Section("experiment", "The experiment", [about], table, _notes(rows), charts=charts, detail=("notes",))
        )
        found = claims(rows)
        out.append(
            Section(
                "claims",
                "The comparison's claims on this machine",
                notes=[str(claim) for claim in found],
                data={"claims": [{"claim": c.text, "outcome": c.outcome, "because": c.because} for c in found]},
                detail=PARTS,
            )
        )
    out += _served([record for record in records if record.name == SERVED and record.status == "measured"])
    if long:
        about = f"One prompt of {long[0].fields['prompt_len']} tokens and {long[0].fields['new_tokens']} new ones."
        table = Table(LONG_COLUMNS, [_row(record, LONG_COLUMNS) for record in long])
        out.append(Section("long_prompt", "Long prompt", [about], table, detail=PARTS))
    if harness:
        said = [note for record in harness for note in record.notes]
        out.append(Section("harness", "Measurement overhead", notes=said, detail=PARTS))
    return out


def _served(rows: Sequence[Record]) -> list[Section]:
    """The rows of a model of the size that is served; none where there are none."""
    if not rows:
        return []
    fields = rows[0].fields
    about = (
        f"Speed and memory in the shapes of {fields['model']}, {fields['new_tokens']} new tokens for each input: "
        "what the small default model cannot show on an accelerator."
    )
    table = _table(rows)
    return [Section(SERVED, "In the shapes of a served model", [about], table, _notes(rows), detail=("notes",))]


def _table(rows: Sequence[Record]) -> Table:
    """The experiment's table, without the columns that no row has anything for."""
    cells = [_row(record, COLUMNS) for record in rows]
    absent = {key for key in (QUALITY, HUMAN, ENERGY, LOADING) if all(row[key] is None for row in cells)}
    columns = [column for column in COLUMNS if column.key not in absent]
    kept = [{key: value for key, value in row.items() if key not in absent} for row in cells]
    return Table(columns, kept, LEAST_IMPORTANT)


def _notes(rows: Sequence[Record]) -> list[str]:
    """Each note once, with the rows it belongs to."""
    belongs: dict[str, list[str]] = {}
    for record in rows:
        for note in record.notes:
            belongs.setdefault(note, []).append(label(record))
    return [f"{', '.join(labels)}: {note}" for note, labels in belongs.items()]


def claims(rows: Sequence[Record]) -> list[Claim]:
    """The comparison's claims, each held, not held, or not judged where the rows it needs were not measured. Rows of
    synthetic models support none."""
    real = [row for row in rows if label_of(row.provenance) is None]
    if rows and not real:
        return [Claim(text, "not judged here", str(label_of(rows[0].provenance))) for text, _ in _CLAIMS]
    return [judge(text, real) for text, judge in _CLAIMS]


def _needs(rows: Sequence[Record], metric: str, *groups: Callable[[Record], bool]) -> list[list[Record]] | None:
    found = [[row for row in rows if belongs(row) and row.value(metric) is not None] for belongs in groups]
    return found if all(found) else None


def _in(*families: str) -> Callable[[Record], bool]:
    return lambda record: _family(record) in families


def _flash(record: Record) -> bool:
    return str(record.fields["attention"]) in FLASH


def _least(rows: Sequence[Record], metric: str) -> Record:
    return min(rows, key=lambda row: _value(row, metric))


def _most(rows: Sequence[Record], metric: str) -> Record:
    return max(rows, key=lambda row: _value(row, metric))


def _outcome(held: bool) -> Outcome:
    return "held" if held else "not held"


def _memory(text: str, rows: Sequence[Record]) -> Claim:
    groups = _needs(rows, "peak_memory_bytes", _in("4 bit"), _in(*NONE, "8 bit"))
    if groups is None:
        return Claim(text, "not judged here", "needs a 4-bit row and another one")
    most, least = _most(groups[0], "peak_memory_bytes"), _least(groups[1], "peak_memory_bytes")
    a, b = _value(most, "peak_memory_bytes"), _value(least, "peak_memory_bytes")
    return Claim(
        text,
        _outcome(a < b),
        f"the 4-bit row that uses most memory ({label(most)}) peaks at {mebibytes(a)} MiB, the other row that uses "
        f"least ({label(least)}) at {mebibytes(b)} MiB",
    )


def _best_top1(rows: Sequence[Record]) -> float:
    return _value(_most(rows, "top1_agreement"), "top1_agreement")


def _eight_bit(text: str, rows: Sequence[Record]) -> Claim:
    groups = _needs(rows, "top1_agreement", _in(*NONE), _in("8 bit"))
    if groups is None:
        return Claim(text, "not judged here", "needs an unquantized and an 8-bit row")
    none, eight = map(_best_top1, groups)
    return Claim(
        text,
        _outcome(none - eight <= CLOSE_TOP1),
        f"top-1 agreement {percent(none)} without quantization, {percent(eight)} with 8 bit "
        f"(close: within {CLOSE_TOP1:.0%})",
    )


def _four_bit(text: str, rows: Sequence[Record]) -> Claim:
    groups = _needs(rows, "top1_agreement", _in("8 bit"), _in("4 bit"))
    if groups is None:
        return Claim(text, "not judged here", "needs an 8-bit and a 4-bit row")
    eight, four = map(_best_top1, groups)
    return Claim(
        text,
        _outcome(0 <= eight - four <= SLIGHT_TOP1),
        f"top-1 agreement {percent(eight)} with 8 bit, {percent(four)} with 4 bit "
        f"(slightly: worse by at most {SLIGHT_TOP1:.0%})",
    )


def _fastest(text: str, rows: Sequence[Record]) -> Claim:
    metric = "throughput_tokens_per_s"
    fa2, both = ([r for r in rows if _family(r) in NONE and r.fields["attention"] in group] for group in (FA2, BOTH))
    named = [*fa2, *both]
    others = [r for r in rows if r not in named]
    if not (fa2 and both and others):
        return Claim(text, "not judged here", "needs unquantized rows with FA2, with FA1+FA2, and others")
    slowest_named, fastest_other = _least(named, metric), _most(others, metric)
    a, b = _value(slowest_named, metric), _value(fastest_other, metric)
    return Claim(
        text,
        _outcome(a > b),
        f"{label(slowest_named)} makes {a:.1f} tokens/s, the fastest other row ({label(fastest_other)}) {b:.1f}",
    )


def _scarce(text: str, rows: Sequence[Record]) -> Claim:
    groups = _needs(
        rows,
        "peak_memory_bytes",
        lambda r: _in("4 bit")(r) and _flash(r),
        lambda r: not (_in("4 bit")(r) and _flash(r)),
    )
    if groups is None:
        return Claim(text, "not judged here", "needs a 4-bit row with FA1 or FA2 and another one")
    leanest = _least(rows, "peak_memory_bytes")
    return Claim(
        text,
        _outcome(leanest in groups[0]),
        f"the row that uses least is {label(leanest)}, "
        f"{mebibytes(_value(leanest, 'peak_memory_bytes'))} MiB at its peak",
    )


_CLAIMS: tuple[tuple[str, Callable[[str, Sequence[Record]], Claim]], ...] = (
    ("4-bit needs the least memory", _memory),
    ("8-bit quality is close to none", _eight_bit),
    ("4-bit is slightly worse", _four_bit),
    ("none+FA2 and none+FA1+FA2 are the fastest", _fastest),
    ("4-bit with FA is the choice when memory is scarce", _scarce),
)


def doctor(device: str) -> list[Section]:
    """Which schemes and attentions this machine has."""

    def rows(named: dict[str, str], why: Callable[[str], str | None]) -> list[dict[str, Value]]:
        return [{"name": name, "what": label, "here": why(name) or "yes"} for name, label in named.items()]

    columns = (
        Column("name", "name"),
        Column("what", "what it is", words=True),
        Column("here", "available here", words=True),
    )
    schemes, backends = quantization.schemes(), attention.backends()
    return [
        Section(
            "schemes",
            "Quantization schemes",
            table=Table(
                columns, rows({n: s.label for n, s in schemes.items()}, lambda n: schemes[n].unavailable(device))
            ),
            notes=[f"{name}: {note}" for name, scheme in schemes.items() if (note := scheme.note(device))],
        ),
        Section(
            "attention",
            "Attention backends",
            table=Table(
                columns, rows({n: b.label for n, b in backends.items()}, lambda n: backends[n].unavailable(device))
            ),
        ),
    ]
