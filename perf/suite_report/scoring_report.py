"""What people say of the answers: their scores in the rows' records, and the report's part about them."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.records.record import Metric, Record
from perfgate.report import Column, Section, Table, Value, decimals, significant

from fixtures.scores import CONFIDENCE, SCALE, Origin, PairScore, RowName, RowScore, Scores
from suite_report.recommendation import HUMAN

COLUMNS = (
    Column("row", "row"),
    Column("answers", "answers"),
    Column("mean", "mean score", decimals(2)),
    Column("low", "low", decimals(2)),
    Column("high", "high", decimals(2)),
    Column("wins", "wins"),
    Column("ties", "ties"),
    Column("losses", "losses"),
)
PAIR_COLUMNS = (
    Column("first", "row"),
    Column("second", "against", words=True),
    Column("wins", "wins"),
    Column("ties", "ties"),
    Column("losses", "losses"),
    Column("difference", "mean difference", decimals(2)),
    Column("p_value", "p", significant(2)),
)


def _rows(records: Sequence[Record]) -> list[tuple[RowName, Origin, Record]]:
    """The measured rows of the experiment, each with what it is about."""
    found = []
    for record in records:
        if record.name == "generation" and record.status == "measured":
            fields = {name: str(value) for name, value in record.fields.items()}
            origin = Origin(fields["model"], fields["prompts"], fields["device"])
            found.append((RowName(fields["scheme"], fields["attention"]), origin, record))
    return found


def apply(scores: Scores, records: Sequence[Record]) -> list[str]:
    """Put each row's mean score into its record, in points; scores of an earlier import go. Returns what the reader
    must know: which rows have none, and why."""
    scored = {row.name: row for row in scores.rows()}
    notes, used = [], set()
    for name, origin, record in _rows(records):
        record.metrics.pop(HUMAN, None)
        row = scored.get(name)
        if origin != scores.origin:
            notes.append(f"{name}: not scored: the scores are for {scores.origin}, this row is of {origin}")
        elif row is None:
            notes.append(f"{name}: not scored: no answer of it is in the file")
        else:
            used.add(name)
            record.metrics[HUMAN] = Metric("bounded", "points", "higher", row.mean, row.scores, row.interval)
    missing = [str(name) for name in scored if name not in used]
    if missing:
        notes.append(f"scored, but not measured in this run: {', '.join(missing)}")
    return notes


def _row(row: RowScore, pairs: Sequence[PairScore]) -> dict[str, Value]:
    """A row of the table: its mean, and its wins over all others together."""
    low, high = row.interval or (None, None)
    ahead = [pair for pair in pairs if pair.first == row.name]
    behind = [pair for pair in pairs if pair.second == row.name]
    return {
        "row": str(row.name),
        "answers": len(row.scores),
        "mean": row.mean,
        "low": low,
        "high": high,
        "wins": sum(pair.wins for pair in ahead) + sum(pair.losses for pair in behind),
        "ties": sum(pair.ties for pair in (*ahead, *behind)),
        "losses": sum(pair.losses for pair in ahead) + sum(pair.wins for pair in behind),
    }


def sections(scores: Scores | None, records: Sequence[Record]) -> list[Section]:
    """Apply the scores, and tell them; nothing where none were imported."""
    if scores is None:
        return []
    notes = apply(scores, records)
    pairs = scores.pairs()
    low, high = SCALE
    about = (
        f"A person's scores from {low:g} (bad) to {high:g} (good), given blind, of answers of at most "
        f"{scores.new_tokens} tokens of {scores.origin}, exported {scores.made}. Low and high bound the mean "
        f"with {CONFIDENCE:.0%} confidence over inputs like these; another person may judge otherwise. Wins count "
        "how often a row's answer was scored higher than another row's to the same input."
    )
    table = Table(COLUMNS, [_row(row, pairs) for row in scores.rows()])
    found = [Section("human_scores", "Human scores", [about], table, notes)]
    if pairs:
        about = (
            "On how many inputs the first row's answer was scored higher than the second's, the same, and lower. p is "
            f"the sign test's, corrected for {len(pairs)} pairs (Holm); below 0.05 chance is a poor explanation."
        )
        cells = [vars(pair) | {"first": str(pair.first), "second": str(pair.second)} for pair in pairs]
        found.append(Section("human_wins", "Human scores: wins", [about], Table(PAIR_COLUMNS, cells), folded=True))
    return found
