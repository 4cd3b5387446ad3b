"""The Monitoring tab's usage: which rows are meant, their sums, and the rows themselves. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from engine import Filters, Row, Total
from ui.conversations import flat
from ui.words import say

PERIODS = {
    "1": "monitoring.day", "7": "monitoring.week", "30": "monitoring.month", "365": "monitoring.year",
}  # fmt: skip
GROUPS = {
    "model": "monitoring.model", "project": "monitoring.project", "dialect": "monitoring.dialect",
    "task": "monitoring.task", "user_key": "monitoring.key", "caller": "monitoring.caller", "day": "monitoring.by_day",
    "status": "monitoring.status",
}  # fmt: skip
MEASURES = {
    "requests": "monitoring.requests", "tokens": "monitoring.tokens", "run_s": "monitoring.run_s",
    "seconds": "monitoring.seconds", "audio_s": "monitoring.audio_s", "pages": "monitoring.pages",
    "images": "monitoring.images", "characters": "monitoring.characters",
    "megapixel_steps": "monitoring.megapixel_steps", "own_load_s": "monitoring.load_s",
}  # fmt: skip
COLUMNS = (
    "monitoring.when", "monitoring.model", "monitoring.task", "monitoring.dialect", "monitoring.project",
    "monitoring.key", "monitoring.used", "monitoring.took", "monitoring.status", "monitoring.request_id",
)  # fmt: skip
SHOWN = 50  # rows and sums a page
EXPORT = "api/v1/admin/usage/export"
WORDS = ("model", "project", "user_key", "dialect", "task")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the form says.

    Args:
        days: how far back.
        mine: the session that alone is shown; "" for everybody's.
    """

    days: float
    by: str
    measure: str
    words: Mapping[str, str]
    mine: str = ""

    @classmethod
    def of(cls, form: Mapping[str, Any], mine: str) -> Choice:
        """The form's values; what is no choice of ours is as if it were not there."""
        period, by, measure = (str(form.get(name)) for name in ("period", "by", "measure"))
        return cls(
            days=float(period) if period in PERIODS else 7.0,
            by=by if by in GROUPS else "model",
            measure=measure if measure in MEASURES else "requests",
            words={name: str(form.get(name) or "").strip()[:256] for name in WORDS},
            mine=mine,
        )

    def filters(self, now: datetime) -> Filters:
        """The rows that are meant."""
        since = now - timedelta(days=self.days)
        given = {name: word for name, word in self.words.items() if word}
        if self.mine:
            given["session"] = self.mine
        filters: Filters = {"since": since, **given}  # type: ignore[typeddict-item]
        return filters

    def moments(self, now: datetime) -> list[str]:
        """The hours or days of the period, as the ledger's series writes them."""
        step = timedelta(hours=1) if self.days <= 3 else timedelta(days=1)
        form = "%Y-%m-%d %H:00" if self.days <= 3 else "%Y-%m-%d"
        count = round(timedelta(days=self.days) / step)
        return [(now - n * step).strftime(form) for n in range(count, -1, -1)]

    def query(self) -> dict[str, str]:
        """The same, for the REST calls."""
        since = datetime.now(UTC) - timedelta(days=self.days)
        given = {name: word for name, word in self.words.items() if word}
        return {"since": since.isoformat(timespec="seconds"), **given}


def overview(
    totals: Sequence[Total], choice: Choice, names: Mapping[str, str], language: str
) -> str:
    """Sums of everything as figures, then by the chosen thing as a table, and the links to files."""
    whole = {name: sum(getattr(total, name) for total in totals) for name in _SUMMED}
    tokens = whole["input_tokens"] + whole["output_tokens"]
    figures = [("requests", whole["requests"]), ("tokens", tokens), ("run_s", whole["run_s"])]
    figures += [(n, whole[n]) for n in ("audio_s", "pages", "images", "characters") if whole[n]]
    tiles = "".join(
        f'<section class="tile" data-key="{name}"><h3>{flat(say(MEASURES[name], language))}</h3>'
        f"<b>{number(amount)}</b></section>"
        for name, amount in figures
    )
    failed = whole["failed"]
    if failed:
        tiles += (
            f'<section class="tile bad" data-key="failed"><h3>{flat(say("monitoring.failed", language))}</h3>'
            f"<b>{number(failed)}</b></section>"
        )
    return (
        f'<div class="shelf usage"><div class="tiles">{tiles}</div>{_files(choice, language)}'
        f"{_table(totals, choice, names, language)}</div>"
    )


_SUMMED = (
    "requests", "failed", "input_tokens", "output_tokens", "run_s", "audio_s", "pages", "images", "characters",
)  # fmt: skip


def _files(choice: Choice, language: str) -> str:
    if choice.mine:
        return ""
    query = choice.query()
    links = "".join(
        f'<a class="act" href="{EXPORT}?{flat(urlencode({**query, "format": kind}))}" download>{name}</a>'
        for kind, name in (("csv", "CSV"), ("parquet", "Parquet"))
    )
    return f'<p class="files"><span>{flat(say("monitoring.export", language))}</span>{links}</p>'


def _table(totals: Sequence[Total], choice: Choice, names: Mapping[str, str], language: str) -> str:
    if not totals:
        return f'<p class="none">{flat(say("monitoring.no_rows", language))}</p>'
    columns = [name for name in MEASURES if any(_amount(total, name) for total in totals)]
    head = "".join(f"<th>{flat(say(MEASURES[name], language))}</th>" for name in columns)
    most = max(_amount(total, choice.measure) for total in totals) or 1.0
    rows = "".join(
        _sum(total, columns, most, choice.measure, names, language) for total in totals[:SHOWN]
    )
    return (
        f'<div class="wide"><table class="sums"><thead><tr><th>{flat(say(GROUPS[choice.by], language))}</th>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _sum(
    total: Total,
    columns: Sequence[str],
    most: float,
    measure: str,
    names: Mapping[str, str],
    language: str,
) -> str:
    width = 100 * _amount(total, measure) / most
    cells = "".join(f"<td>{number(_amount(total, name))}</td>" for name in columns)
    return (
        f'<tr data-key="{flat(total.key)}"><th scope="row"><i style="width:{width:.1f}%"></i>'
        f"<span>{flat(_called(total.key, names, language))}</span></th>{cells}</tr>"
    )


def _called(key: str, names: Mapping[str, str], language: str) -> str:
    return names.get(key) or key or say("monitoring.none", language)


def _amount(total: Total, name: str) -> float:
    return total.input_tokens + total.output_tokens if name == "tokens" else getattr(total, name)


def latest(rows: Sequence[Row], offset: int, names: Mapping[str, str], language: str) -> str:
    """A page of rows, newest first, and the buttons to the next and the one before."""
    heading = f"<h3>{flat(say('monitoring.latest', language))}</h3>"
    if not rows and not offset:
        return f'<div class="shelf"><p class="none">{flat(say("monitoring.no_rows", language))}</p></div>'
    head = "".join(f"<th>{flat(say(key, language))}</th>" for key in COLUMNS)
    body = "".join(_row(row, names, language) for row in rows)
    newer = _turn(max(0, offset - SHOWN), say("monitoring.newer", language), offset > 0)
    older = _turn(offset + SHOWN, say("monitoring.older", language), len(rows) == SHOWN)
    return (
        f'<div class="shelf rows">{heading}<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f'</table></div><p class="turns">{newer}{older}</p></div>'
    )


def _turn(offset: int, text: str, able: bool) -> str:
    off = "" if able else " disabled"
    return (
        f'<button type="button" class="act quiet" data-offset="{offset}"{off}>{flat(text)}</button>'
    )


def _row(row: Row, names: Mapping[str, str], language: str) -> str:
    state = (
        "good"
        if row.status in ("ok", "started")
        else "mild"
        if row.status in ("stopped", "cancelled")
        else "bad"
    )
    cells = (
        row.started_at.astimezone().strftime("%m-%d %H:%M:%S"), names.get(row.model, row.model), row.task, row.dialect,
        row.project or "", row.user_key or "", used(row, language), f"{row.seconds:.2f} s",
    )  # fmt: skip
    shown = "".join(f"<td>{flat(cell)}</td>" for cell in cells)
    return (
        f'<tr data-key="{flat(row.id)}">{shown}<td><span class="badge {state}">{flat(row.status)}</span></td>'
        f"<td><code>{flat(row.request_id)}</code></td></tr>"
    )


def used(row: Row, language: str) -> str:
    """What a request used, in the units that it has."""
    found = []
    if row.input_tokens or row.output_tokens:
        found.append(f"{number(row.input_tokens)} → {number(row.output_tokens)}")
    for name in ("audio_s", "pages", "images", "characters"):
        if amount := getattr(row, name):
            found.append(f"{number(amount)} {say(MEASURES[name], language).lower()}")
    return " · ".join(found)


def number(value: float) -> str:
    """A figure for people: "1 234", "12.4 k", "3.1 M"."""
    for unit, least in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= least:
            by = 1e3 if unit == "k" else least
            return f"{value / by:.1f} {unit}"
    return (
        f"{value:,.0f}".replace(",", " ") if value == int(value) or value >= 100 else f"{value:.1f}"
    )
