"""Human scores in the report: into the records of the rows that they belong to, and as tables of their own."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.record import Metric, Record
from perfgate.report import Column, Section, Table, Value, decimals, significant
from recommendation import HUMAN

from fixtures import scores
from fixtures.scores import Row
from fixtures.scoring import SCALE, Scoring

COLUMNS = (
    Column("row", "row"),
    Column("count", "answers"),
    Column("mean", "mean score", decimals(2)),
    Column("low", "from", decimals(2)),
    Column("high", "to", decimals(2)),
)
DUELS = (
    Column("first", "row"),
    Column("second", "against", words=True),
    Column("wins", "wins"),
    Column("ties", "ties"),
    Column("losses", "losses"),
    Column("p_value", "chance between equals", significant(2)),
)


def _label(row: Row) -> str:
    return " + ".join(row)


def apply(scoring: Scoring, records: Sequence[Record]) -> list[str]:
    """Put the mean score of each row into its record; returns what does not fit together, in words."""
    found = {one.row: one for one in scores.by_row(scoring.scores)}
    measured: set[Row] = set()
    unlike: list[str] = []
    for record in records:
        if record.name != "generation" or record.status != "measured":
            continue
        row = (str(record.fields["scheme"]), str(record.fields["attention"]))
        of = (record.fields["model"], record.fields["prompts"])
        if of != (scoring.model, scoring.prompts):
            unlike.append(
                f"the scores are of {scoring.model} with prompt set {scoring.prompts}, and this run's rows of {of[0]} "
                f"with {of[1]}: they are not put together"
            )
        elif row in found:
            one = found[row]
            record.metrics[HUMAN] = Metric("bounded", "points", "higher", one.mean, interval=one.interval)
            measured.add(row)
        else:
            unlike.append(f"{_label(row)}: nobody has scored its answers")
    unlike += [f"{_label(row)}: scored, but not measured in this run" for row in found if row not in measured]
    return list(dict.fromkeys(unlike))


def sections(scoring: Scoring | None, unlike: Sequence[str]) -> list[Section]:
    """The scores by row and by pair; none where none were imported."""
    if scoring is None:
        return []
    about = (
        f"A person scored {len(scoring.scores)} answers of {scoring.new_tokens} new tokens from {SCALE[0]:g} to "
        f"{SCALE[1]:g} without knowing which row gave them; the interval is Student's, 95%."
    )
    means: list[dict[str, Value]] = []
    for one in scores.by_row(scoring.scores):
        low, high = one.interval or (None, None)
        means.append({"row": _label(one.row), "count": one.count, "mean": one.mean, "low": low, "high": high})
    pairs: list[dict[str, Value]] = [
        {
            "first": _label(duel.first),
            "second": _label(duel.second),
            "wins": duel.wins,
            "ties": duel.ties,
            "losses": duel.losses,
            "p_value": duel.p_value,
        }
        for duel in scores.duels(scoring.scores)
    ]
    found = [Section("human_scores", "Human scores", [about], Table(COLUMNS, means), list(unlike))]
    if pairs:
        told = (
            "Each pair of rows on the prompts that both answered, ties left out of the sign test: a small chance says "
            "that the scorer sees a difference. With many pairs, some chances are small by chance."
        )
        found.append(Section("human_pairs", "Human scores, row against row", [told], Table(DUELS, pairs)))
    return found
