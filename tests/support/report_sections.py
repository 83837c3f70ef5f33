"""Sections made up for the tests of the report: every style of chart, texts that attack, and a report of 300 cases; and
a record of one case."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.records.record import Metric, Record
from perfgate.report import Column, Section, Table, decimals, mebibytes, percent
from perfgate.report.charts import Axis, Chart, Series

HOSTILE = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\"><svg onload='window.pwned=1'>",
    "]]></style></script><script>window.pwned=1</script>",
    "{{ 7*7 }} {% raw %} $x^2$ %s",
    "a\x00\x07\x1b[31m\x9b\r\nb",
    "left\u202eright\u2066\u200f",
    "\U0001f469\u200d\U0001f680\U0001f1e9\U0001f1ea",
    "w" * 5_000,
    "&lt;script&gt;&amp;",
    "|`*_[x](javascript:window.pwned=1)~~",
)
"""Texts that a model, a prompt or an exception could say."""

NAMES = ("fp32 + eager", "fp32 + fa2", "int8 + eager", "int8 + fa2", "nf4 + eager", "nf4 + fa2")
MEMORY, SPEED = Axis("peak memory in MiB", mebibytes), Axis("tokens/s", decimals(1))
TOP1 = Axis("top-1 agreement", percent)


def points(name: str = "trade", labels: Sequence[str] = NAMES) -> Chart:
    """Labelled points, two of them close to each other, coloured by a value, with a front and a limit."""
    count = len(labels)
    x = [(500.0 + 3 * (n // 2) + 90 * (n % 2)) * 2**20 for n in range(count)]
    y = [10.0 + 0.2 * n for n in range(count)]
    shades = [None if n == 1 else 0.8 + 0.2 * n / count for n in range(count)]
    series = [
        Series("rows", "points", x, y, labels=labels, shades=shades),
        Series("Pareto front", "front", sorted(x)[:3], sorted(y)[:3]),
    ]
    alt = "The made-up rows."
    return Chart(name, "Speed against memory", alt, MEMORY, SPEED, series, shade=TOP1, marks={"allowed": 520 * 2.0**20})


def crowded(name: str = "crowded") -> Chart:
    """Sixteen labelled points in four heaps, two of them at the lower edge."""
    labels = [f"{scheme} + fa1+flash-attn-2" for scheme in ("fp32", "bf16", "int8", "nf4") for _ in range(4)]
    x = [(170.0 + 110 * (n // 4) + n % 4) * 2**20 for n in range(16)]
    y = [(10.0, 10.05, 14.0, 10.0)[n // 4] + 0.001 * n for n in range(16)]
    return Chart(name, "A crowd", "Four heaps.", MEMORY, SPEED, [Series("rows", "points", x, y, labels=labels)])


MEASURED = {
    "bf16 + sdpa-flash": (258.72, 20.45),
    "int8 + eager": (215.92, 10.91),
    "int8 + fa2": (215.81, 10.81),
    "nf4 + fa2": (166.21, 19.94),
    "nf4-dq + fa2": (166.21, 18.21),
    "nf4 + eager": (166.35, 21.59),
    "fp4 + fa2": (166.21, 19.07),
    "fp32 + sdpa-flash": (517.41, 11.96),
    "fp32 + fa1+fa2": (517.41, 11.56),
    "fp32 + fa2": (517.41, 11.41),
    "fp32 + fa1": (517.41, 11.28),
    "fp32 + sdpa-math": (517.41, 12.82),
    "fp32 + eager": (517.6, 13.72),
}
"""Peak MiB and tokens/s of a real run, in which two names touched in a browser, whose lines are higher than letters."""


def measured(name: str = "measured") -> Chart:
    """The rows of a real run."""
    x, y = zip(*MEASURED.values(), strict=True)
    rows = Series("rows", "points", [one * 2.0**20 for one in x], y, labels=list(MEASURED))
    return Chart(name, "A real run", "Thirteen rows.", MEMORY, SPEED, [rows], marks={"allowed": 300 * 2.0**20})


def scaling(name: str = "scaling") -> Chart:
    """Lines and a guide on two logarithmic axes."""
    sizes = [2.0**n for n in range(7, 13)]
    lines = [Series(f"way {n}", "line", sizes, [1e-6 * n * size**1.5 for size in sizes]) for n in range(1, 4)]
    guide = Series("like n squared", "guide", sizes, [1e-7 * size**2 for size in sizes])
    time = Axis("ms", decimals(3, 1e3), log=True)
    return Chart(name, "Time over length", "Three ways.", Axis("length", log=True), time, [*lines, guide])


def spread(name: str = "spread", categories: Sequence[str] = NAMES) -> Chart:
    """Many small marks and a median in each category."""
    count = len(categories)
    x = [0.5 + 0.1 * place + 0.01 * n for place in range(count) for n in range(8)]
    series = [
        Series("one input", "spread", x, [float(place) for place in range(count) for _ in range(8)]),
        Series("median", "points", [0.535 + 0.1 * n for n in range(count)], [float(n) for n in range(count)]),
    ]
    return Chart(
        name, "Latency of each input", "They spread.", Axis("seconds", decimals(2)), Axis("row"), series, categories
    )


def intervals(name: str = "verdicts", categories: Sequence[str] = NAMES) -> Chart:
    """Ratios with intervals, some of each verdict, with two marks."""
    series = []
    for first, status in enumerate(("REGRESSED", "INCONCLUSIVE", "IMPROVED", "SAME")):
        places = [float(n) for n in range(first, len(categories), 4)]
        x = [(1.2, 1.03, 0.8, 1.0)[first]] * len(places)
        low, high = [one - 0.02 for one in x], [one + 0.02 for one in x]
        series.append(Series(status, "intervals", x, places, low=low, high=high, status=status))
    marks = {"unchanged": 1.0, "5.0% slower": 1.05}
    ratio = Axis("time now / baseline", decimals(2))
    return Chart(name, "Now against the baseline", "Ratios.", ratio, Axis("case"), series, categories, marks=marks)


CHARTS = (points(), crowded(), measured(), scaling(), spread(), intervals())
"""Together they have every style there is."""

NUMBERS = (9.0, 1000.0, None, 10.0, 0.00002, -3.0, None, 100.0)
WORDS = ("SAME", "REGRESSED", None, "IMPROVED", "SAME", None, "REGRESSED", "SAME")
NUMBERS_TABLE = Table(
    [Column("row", "row"), Column("n", "number", decimals(1)), Column("word", "verdict", words=True)],
    [
        {"row": f"case {place}", "n": number, "word": word}
        for place, (number, word) in enumerate(zip(NUMBERS, WORDS, strict=True))
    ],
)


def everything() -> list[Section]:
    """An ordinary report: charts, two tables, notes and a folded part."""
    settings = Table([Column("what", "what"), Column("value", "value", words=True)], [{"what": "seed", "value": "3"}])
    return [
        Section(
            "gate",
            "Against the baseline",
            ["How it was judged."],
            NUMBERS_TABLE,
            ["case 2: INCONCLUSIVE: too noisy"],
            lead=["Against the baseline: 4 REGRESSED, 4 SAME."],
            changes=["case 1: REGRESSED: 1.2 times"],
            charts=CHARTS[-1:],
        ),
        Section("experiment", "The experiment", lead=["Take int8 + fa2."], charts=CHARTS[:-1]),
        Section("run", "This run", ["Machine: made up."], settings, folded=True),
    ]


def hostile() -> list[Section]:
    """Every hostile text in every place that takes a text."""
    made = []
    for number, text in enumerate(HOSTILE):
        table = Table([Column("a", text), Column("b", text, words=True)], [{"a": text, "b": text}])
        labelled = Series(text, "points", [1.0, 2.0], [1.0, 2.0], labels=[text, text])
        other = Series(text[::-1], "line", [1.0, 2.0], [1.0, 2.0])
        axis = Axis(text, decimals(1))
        plain = Chart(text, text, text, axis, axis, [labelled, other], marks={text: 1.5})
        rows = Chart(
            f"{number}", text, text, axis, axis, [Series(text, "spread", [1.0], [0.0])], [text], shade=Axis(text)
        )
        made.append(
            Section(
                f"{text}{number}",
                text,
                [text],
                table,
                [text],
                lead=[text],
                changes=[text],
                charts=[plain, rows],
                folded=bool(number % 2),
            )
        )
    return made


def large(cases: int = 300) -> list[Section]:
    """A report of so many cases in three tables, with ten charts of 30 points each."""
    columns = [Column("case", "case"), *(Column(f"c{n}", f"metric {n}", decimals(3)) for n in range(10))]
    rows = [{"case": f"benchmark/case-{at}"} | {f"c{n}": at / (n + 1) for n in range(10)} for at in range(cases)]
    tables = [Section(name, name.title(), table=Table(columns, rows)) for name in ("gate", "history", "all")]
    names = [f"benchmark/case-{at}" for at in range(30)]
    charts = [intervals(f"chart {n}", names) if n % 2 else spread(f"chart {n}", names) for n in range(10)]
    return [*tables, Section("charts", "Charts", notes=[f"case {at}: a note" for at in range(cases)], charts=charts)]


def record(**metrics: float) -> Record:
    """The record of one case with these metrics."""
    made = {name: Metric("exact", "x", "lower", value) for name, value in metrics.items()}
    return Record("sums", 1, {}, "sums/loop", metrics=made)
