"""A chat model with behaviour and no model: it "translates" by writing words backwards, with the habits of real ones.

Words in the text steer it: `!chatty` puts a label before, `!quoted` quotation marks around, `!mute` says nothing,
`!lossy` loses marks, `!fail` raises, `!slow` takes its time.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from engine.events import Done, Text
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings

SPECS = (ModelSpec(id="polyglot", does=frozenset({"chat"}), family="polyglot", memory=100),)


@dataclass
class Polyglot:
    """Serves one request at a time."""

    asked: list[str] = field(default_factory=list)

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        question = request.messages[-1].text
        self.asked.append(question)
        text = question.rpartition("<text>\n")[2].removesuffix("\n</text>")
        emit.count(input=len(text.split()))
        if "!slow" in text:
            for _ in range(200):
                time.sleep(0.02)
                emit(None)
        if "!fail" in text:
            raise ValueError("the polyglot stammered")
        said = backwards(text)
        if "!lossy" in text:
            said = re.sub(r"\[\[\d+\]\]|ZQ\d+", "", said)
        if "!chatty" in text:
            said = f"Sure! Here is the translation:\n\n{said}\n\nNote: I kept the names."
        if "!quoted" in text:
            said = f'"{said}"'
        emit.count(output=len(said.split()))
        emit(Text("" if "!mute" in text else said))
        emit(Done())

    def close(self) -> None:
        """Nothing to give back."""


def backwards(text: str) -> str:
    """Every word of letters written backwards; marks, numbers and signs as they are."""
    return re.sub(r"(?<![\w!])[^\W\d_]+(?![\w])", lambda match: match[0][::-1], text)


def load(spec: ModelSpec, settings: Settings) -> Polyglot:
    return Polyglot()
