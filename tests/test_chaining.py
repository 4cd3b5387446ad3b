"""Talking over HTTP as contract and seed have it: frames, refusals, sessions, hang-up, faults in mid-chain."""

from __future__ import annotations

import io
import json
import threading
import time
import wave
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from engine import Engine, Settings
from tests import voices
from tests.serving import Served, serve, until
from tests.voices import pcm_of, record, words_in

URL = "/v1/ai/chaining/chat"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("chaining")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(settings, families={"voices": voices.Family()}, specs=voices.SPECS)
    with serve(settings, engine=engine) as running:
        yield running


def b64(data: bytes) -> str:
    return b64encode(data).decode()


class Talk:
    """A client with a session of its own."""

    def __init__(self, server: Served, session: str = "") -> None:
        self.url = server.url + URL
        self.headers = {"X-Session-ID": session} if session else {}

    def post(self, **body: Any) -> Any:
        return requests.post(self.url, json=body, headers=self.headers, timeout=30, stream=True)

    def say(self, **body: Any) -> list[dict[str, Any]]:
        answer = self.post(**body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        frames = [line[6:] for line in answer.iter_lines() if line.startswith(b"data: ")]
        assert frames[-1] == b"[DONE]" and frames.count(b"[DONE]") == 1
        return [json.loads(frame) for frame in frames[:-1]]

    def history(self) -> list[tuple[str, str]]:
        answer = requests.get(self.url, headers=self.headers, timeout=30).json()
        return [(m["role"], m["content"]) for m in answer["messages"]]


def of(frames: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame["type"] == kind]


def text_of(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["content"] for frame in of(frames, "text"))


def heard_of(frames: list[dict[str, Any]]) -> str:
    """What the WAVs say, one after another."""
    return " ".join(words_in(pcm_of(b64decode(f["content"]))) for f in of(frames, "audio"))


def test_text_is_answered_in_text_and_sound(server: Served) -> None:
    frames = Talk(server).say(text="Bonjour, **toi**. Il fait beau !")
    assert text_of(frames) == "Bonjour, **toi**. Il fait beau !"
    assert heard_of(frames) == "Bonjour, toi. Il fait beau !"
    first = of(frames, "audio")[0]
    with wave.open(io.BytesIO(b64decode(first["content"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert file.getnframes() / 16_000 == pytest.approx(first["duration"], abs=0.001)
    assert first["phrase"] == 0 and first["text"] == "Bonjour, **toi**."
    *_, times, done = frames
    assert times["first_token"] <= times["first_audio"] <= times["total"] and times["heard"] is None
    assert done["type"] == "done" and done["model"] == "writer" and not done["stopped"]


@pytest.mark.parametrize("prefix", ["", "data:audio/wav;base64,"])
def test_speech_is_heard_first(server: Served, prefix: str) -> None:
    frames = Talk(server).say(audio=prefix + b64(record("Salut toi.")), language="fr")
    assert frames[0] == {"type": "hearing", "content": " Salut"}
    [heard] = of(frames, "heard")
    assert heard == {"type": "heard", "content": "Salut toi.", "language": "fr", "duration": 0.1}
    assert text_of(frames) == heard_of(frames) == "Salut toi."
    both = Talk(server).say(audio=b64(record("Salut.")), text="Et bonsoir.", speak=False)
    assert text_of(both) == "Et bonsoir." and not of(both, "audio")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "give text, or audio"),
        ({"text": " ", "audio": ""}, 400, "give text, or audio"),
        ({"text": None, "audio": None}, 400, "give text, or audio"),
        ({"audio": "###"}, 400, "not base64"),
        ({"audio": "http://example.com/a.wav"}, 400, "fetches no URLs"),
        ({"audio": b64(b"not a sound")}, 415, "no recording"),
        ({"audio": b64(record("hi")), "language": "xx"}, 400, "These"),
        ({"text": "hi", "language": "klingon"}, 400, "language"),
        ({"text": "hi", "voice": "nobody"}, 404, "no voice"),
        ({"text": "hi", "model": "nobody"}, 404, "not in the catalog"),
        ({"text": "hi", "tts_model": "ear"}, 400, "cannot speak"),
        ({"text": "hi", "speed": 9}, 400, "speed"),
        ({"text": "x" * 100_001}, 400, "text"),
        ({"text": 5}, 422, "text"),
    ],
)
def test_refusals(server: Served, body: dict[str, Any], status: int, says: str) -> None:
    answer = Talk(server).post(**body)
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert says in told["detail"] and told["error"] and not server.running


def test_silence_is_not_answered(server: Served) -> None:
    frames = Talk(server, "quiet").say(audio=b64(record("\0" * 30)))
    assert of(frames, "heard")[0]["content"] == "" and not of(frames, "text") + of(frames, "audio")
    assert Talk(server, "quiet").history() == []


def test_nothing_to_say_aloud(server: Served) -> None:
    frames = Talk(server).say(text="☀ ☀")
    assert text_of(frames) == "☀ ☀" and not of(frames, "audio") + of(frames, "error")


def test_faults_in_mid_chain_are_frames(server: Served) -> None:
    frames = Talk(server).say(text="Good. Bad !mute one. Good again.")
    [failed] = of(frames, "error")
    assert failed["error"] == "INFERENCE_FAILED" and "secret" not in failed["detail"]
    assert text_of(frames).endswith("Good again.") and heard_of(frames) == "Good. Good again."
    frames = Talk(server).say(text="!fail a b c d e f g h")
    assert frames[-1]["type"] == "error" and "secret" not in frames[-1]["detail"]
    assert text_of(frames) == "!fail a b c d e"


def test_a_session_keeps_its_conversation(server: Served) -> None:
    talk = Talk(server, "mine")
    talk.say(text="One. Two.")
    talk.say(text="Three.", played=0.05)
    assert talk.history() == [
        ("user", "One. Two."), ("assistant", "One."), ("user", "Three."), ("assistant", "Three."),
    ]  # fmt: skip
    assert Talk(server, "other").history() == []
    given = requests.post(server.url + URL, json={"text": "Hi."}, timeout=30)
    made = given.headers["x-session-id"]
    assert Talk(server, made).history() == [("user", "Hi."), ("assistant", "Hi.")]
    forget = requests.delete(server.url + URL, headers=talk.headers, timeout=30)
    assert forget.json() == {"forgotten": True} and talk.history() == []


def test_hanging_up_stops_everything(server: Served) -> None:
    answer = Talk(server, "gone").post(text="!slow a. " + "word " * 400)
    for line in answer.iter_lines():
        if b'"audio"' in line:
            break
    answer.close()
    assert until(lambda: not server.running)
    assert until(lambda: server.rows(session="gone", limit=9))
    assert {row.status for row in server.rows(session="gone")} <= {"cancelled", "ok"}


def test_stop_ends_the_stream_properly(server: Served) -> None:
    talk, frames = Talk(server, "stopping"), []
    worker = threading.Thread(target=lambda: frames.extend(talk.say(text="!slow " + "word " * 400)))
    worker.start()
    assert until(lambda: server.running)
    time.sleep(0.3)
    stop = requests.post(f"{server.url}/v1/ai/stop", headers=talk.headers, timeout=30)
    assert stop.json()["stopped"] >= 1
    worker.join(20)
    assert frames[-1]["type"] == "done" and frames[-1]["stopped"]
    assert until(lambda: not server.running)


def test_one_warm_up(server: Served) -> None:
    answer = requests.post(f"{server.url}/v1/ai/chaining/warm", json={}, timeout=30).json()
    assert set(answer["models"]) == {"ear", "writer", "mouth"}
    held = {model.id for model in server.engine.status().resident}
    assert {"ear", "writer", "mouth"} <= held
