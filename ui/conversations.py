"""Conversations as the page shows them: the list at the side, the messages, the line under an answer.

Values in, HTML or chatbot messages out; knows no component and no event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from engine import Conversation, Entry, Event, Loading, Progress, Queued, Result
from ui.words import say

SHOWN = 100  # messages a page shows; every update of a stream costs time for each of them


def flat(text: str) -> str:
    """Text as HTML on one line, so that Markdown leaves it alone."""
    return escape(text).replace("\r", "").replace("\n", "&#10;")


def listing(
    rows: Sequence[Conversation],
    *,
    opened: str,
    answering: Collection[str],
    query: str,
    language: str,
    now: datetime,
) -> str:
    """The list of conversations by age, the open one marked; it also tells the script which is open."""
    name = say("chat.conversations", language)
    parts = [f'<nav data-open-conversation="{flat(opened)}" aria-label="{flat(name)}">']
    if not rows:
        none = (
            say("chat.none_found", language, query=query) if query else say("chat.none", language)
        )
        parts.append(f'<p class="none">{flat(none)}</p>')
    last = ""
    for row in rows:
        age = "" if query else _age(row.updated, now)
        if age != last:
            parts.append(f"<h3>{say(age, language)}</h3>")
            last = age
        parts.append(_row(row, row.id == opened, row.id in answering, language))
    return "".join([*parts, "</nav>"])


def _row(row: Conversation, opened: bool, answering: bool, language: str) -> str:
    title = flat(row.title or say("chat.untitled", language))
    current = ' aria-current="true"' if opened else ""
    dot = f'<i class="dot" title="{say("chat.answering", language)}"></i>' if answering else ""
    return (
        f'<button type="button" data-conversation="{flat(row.id)}" title="{title}"{current}>'
        f"{dot}<span>{title}</span></button>"
    )


def _age(when: datetime, now: datetime) -> str:
    days = (now.astimezone().date() - when.astimezone().date()).days
    if days <= 0:
        return "chat.today"
    if days == 1:
        return "chat.yesterday"
    return "chat.this_week" if days <= 7 else "chat.earlier"


def shown(entries: Sequence[Entry], language: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The newest messages for the chatbot, and for each the number of the entry it shows."""
    messages: list[dict[str, Any]] = []
    places: list[int] = []
    for number, entry in list(enumerate(entries))[-SHOWN:]:
        if entry.role not in ("user", "assistant"):
            continue
        if entry.role == "user":
            found = [{"role": "user", "content": entry.text}]
        else:
            found = answer(entry.text, entry.reasoning, language)
        messages += found
        places += [number] * len(found)
    return messages, places


def answer(text: str, reasoning: str, language: str, growing: bool = False) -> list[dict[str, Any]]:
    """One answer as chatbot messages: its thoughts folded away, then its text."""
    messages: list[dict[str, Any]] = []
    if reasoning:
        status = "pending" if growing and not text else "done"
        title = say("chat.thought", language)
        metadata = {"title": title, "status": status}
        messages.append({"role": "assistant", "content": reasoning, "metadata": metadata})
    if text or not reasoning:
        messages.append({"role": "assistant", "content": text})
    return messages


def hidden(entries: Sequence[Entry]) -> int:
    """How many messages are too old to be shown."""
    return max(0, len(entries) - SHOWN)


def progress(result: Result, state: Event | None, name: str, language: str) -> str:
    """The line under a growing answer: what the reader is waiting for."""
    match state:
        case Queued(ahead) if ahead:
            text = say("chat.queued", language, ahead=ahead)
        case Queued():
            text = say("chat.next", language)
        case Loading(fraction=fraction):
            percent = f" {round(fraction * 100)} %" if fraction is not None else ""
            text = say("chat.loading", language, model=name) + percent
        case Progress(done, total) if total and not result.text:
            text = say("chat.reading", language, percent=round(100 * done / total))
        case _:
            text = say("chat.writing" if result.text else "chat.thinking", language)
    return f'<p class="state going"><i class="dots"><b></b><b></b><b></b></i>{flat(text)}</p>'


def footer(entry: Entry | None, name: str, language: str) -> str:
    """The line under a finished answer: its model, tokens and speed; or why it failed."""
    if entry is None or entry.role != "assistant":
        return ""
    if entry.error:
        return problem(entry.error)
    return f'<p class="state">{" · ".join(flat(p) for p in [name, *_figures(entry, language)] if p)}</p>'


def problem(sentence: str) -> str:
    """A line that tells of a failure."""
    return f'<p class="state failed">{flat(sentence)}</p>'


def _figures(entry: Entry, language: str) -> list[str]:
    usage: Mapping[str, Any] = entry.usage
    made, run, first = (usage.get(k) or 0 for k in ("output_tokens", "run_s", "first_s"))
    parts = [say("chat.tokens", language, n=made)] if made else []
    if made > 1 and run > first:
        parts.append(say("chat.rate", language, n=_round((made - 1) / (run - first))))
    if first:
        parts.append(say("chat.first", language, n=f"{first:.2f}"))
    ends = {"length": "chat.cut", "stopped": "chat.stopped"}
    return parts + ([say(ends[entry.finish], language)] if entry.finish in ends else [])


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def file_of(conversation: Conversation, text: str, kind: str, stamp: str) -> str:
    """An exported conversation for the page's script, which saves it as a file."""
    name = "".join(c if c.isalnum() else "-" for c in conversation.title)[:60].strip("-")
    ending, media = ("md", "text/markdown") if kind == "markdown" else ("json", "application/json")
    return (
        f'<div data-file="{flat(name or "conversation")}.{ending}" data-type="{media}" '
        f'data-stamp="{flat(stamp)}">{flat(text)}</div>'
    )


def code_block(title: str, text: str, language: str) -> str:
    """A piece of code with its own copy button."""
    copy, copied = flat(say("page.copy", language)), flat(say("page.copied", language))
    return (
        f'<figure class="code"><figcaption>{flat(title)}'
        f'<button type="button" class="copies" data-copied="{copied}">{copy}</button></figcaption>'
        f'<pre tabindex="0"><code>{flat(text)}</code></pre></figure>'
    )
