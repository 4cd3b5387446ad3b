"""Speech over HTTP: OpenAI's package, Brenda's calls, `/speak`; what is refused, and a stream that fails."""

from __future__ import annotations

import base64
import io
import json
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from engine import Engine, Settings
from engine.errors import InferenceFailed
from engine.events import Audio, Done, Segment, Source
from engine.families import espeak
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest, TranscribeRequest
from tests.serving import Served, serve, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("espeak-ng"), reason="no espeak-ng"),
]
RATE = 24_000
TEXT = "Good morning. This is the second sentence. And a third."


class Dies:
    """Says one sentence and fails, or takes its time; hears the length of what it is given."""

    def __init__(self) -> None:
        self.stopped = False

    def speak(self, request: SpeakRequest, emit: Emit) -> None:
        import time

        emit(Audio(bytes(2 * RATE), RATE))
        if "slow" in request.text:
            for _ in range(600):
                time.sleep(0.02)
                emit(Audio(bytes(960), RATE))
        if "fail" in request.text:
            raise InferenceFailed("The voice broke.")
        emit(Done())

    def transcribe(self, request: TranscribeRequest, emit: Emit) -> None:
        emit(Source(request.language or "fr", 0.9, 1.5))
        emit(Segment(" Bonjour.", 0.0, 0.7))
        emit(Segment(" Merci.", 0.8, 1.4))
        emit(Done())

    def close(self) -> None: ...


BOTH: frozenset[Any] = frozenset({"speak", "transcribe"})
SPEC = ModelSpec("whisper-small", BOTH, "dies", memory=100, aliases=("small",))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("speech")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    families: dict[str, Any] = {
        "espeak": espeak,
        "dies": SimpleNamespace(load=lambda spec, settings: Dies()),
    }
    engine = Engine.build(settings, families=families, specs=(*espeak.SPECS, SPEC))
    with serve(settings, None, engine) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client(timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def openai(server: Served) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def seconds_of(data: bytes) -> float:
    import av

    with av.open(io.BytesIO(data)) as container:
        return sum(f.samples / f.sample_rate for f in container.decode(audio=0))


# OpenAI


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_openai_speech_in_every_format(openai: Any, form: str):
    answer = openai.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=form
    )
    data = answer.content
    length = len(data) / 2 / RATE if form == "pcm" else seconds_of(data)
    assert 2.5 < length < 7


def test_openai_streams_sentence_by_sentence(openai: Any, server: Served):
    made = openai.audio.speech.with_streaming_response.create
    with made(model="espeak-ng", voice="en-us", input=TEXT * 8, response_format="pcm") as answer:
        assert answer.headers["content-type"] == "audio/pcm"
        assert "content-length" not in answer.headers
        sizes = [len(piece) for piece in answer.iter_bytes()]
    assert len(sizes) > 8
    row = server.rows()[0]
    assert (row.task, row.model, row.dialect, row.status) == ("speak", "espeak-ng", "openai", "ok")


def test_openai_events(client: httpx.Client):
    body = {
        "input": TEXT,
        "voice": {"id": "alloy"},
        "stream_format": "sse",
        "response_format": "wav",
    }
    answer = client.post("/v1/audio/speech", json=body)
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    events = [json.loads(frame) for frame in frames[:-1]]
    assert {e["type"] for e in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] == len(TEXT)
    sound = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
    assert seconds_of(sound) == pytest.approx(events[-1]["usage"]["audio_seconds"], abs=0.05)


def test_openai_speed_and_language(openai: Any):
    def length(**values: Any) -> int:
        made = openai.audio.speech.create(
            model="espeak-ng", input="One two three four.", response_format="pcm", **values
        )
        return len(made.content)

    assert length(voice="en-us", speed=2) < 0.7 * length(voice="en-us", speed=1)
    assert length(voice="alloy", extra_body={"language": "French"})


def test_what_fails_midway_is_not_taken_for_whole(client: httpx.Client):
    body = {"model": "whisper-small", "input": "fail", "response_format": "pcm"}
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/v1/audio/speech", json=body)
    answer = client.post("/v1/audio/speech", json={**body, "stream_format": "sse"})
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert "broke" in json.loads(frames[-2])["error"]["message"] and frames[-1] == "[DONE]"


def test_hanging_up_stops_the_voice(client: httpx.Client, server: Served):
    body = {"model": "whisper-small", "input": "slow", "response_format": "pcm"}
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        next(answer.iter_raw())
    assert until(lambda: server.running == 0, 10) and server.running == 0
    assert until(lambda: server.rows()[0].status == "cancelled")


# Brenda


def test_brenda_speaks(client: httpx.Client):
    body = {"text": "Bonjour tout le monde.", "voice_path": "Elise", "language": "French"}
    answer = client.post("/v1/ai/speech/text-to-speech", json=body).json()
    with wave.open(io.BytesIO(base64.b64decode(answer["audio"]))) as file:
        assert file.getframerate() == answer["sample_rate"] == RATE
        assert file.getnframes() / RATE == pytest.approx(answer["duration"], abs=0.001)
    assert 0.7 < answer["duration"] < 2 and answer["model"] == "espeak-ng"


def test_brenda_streams(client: httpx.Client):
    answer = client.post("/v1/ai/speech/text-to-speech", json={"text": TEXT, "stream": True})
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(frame) for frame in frames[:-1]]
    assert frames[-1] == "[DONE]" and [e["type"] for e in events].count("audio") == 3
    for event in events:
        if event["type"] == "audio":
            assert seconds_of(base64.b64decode(event["content"])) == pytest.approx(
                event["duration"], abs=0.01
            )
    told = [e for e in events if e["type"] == "progress"]
    assert told[-1]["done"] == told[-1]["total"] == len(TEXT) and events[-1]["type"] == "done"


def test_brenda_lists_models_and_voices_with_samples(client: httpx.Client):
    told = client.get("/v1/ai/speech/models").json()
    assert told["models"] == ["espeak-ng", "whisper-small"]
    voices = {voice["name"]: voice for voice in told["voices"]}
    assert voices["Elise"]["language"] == "fr" and voices["Elise"]["licence"] == "GPL-3.0"
    assert len({voice["language"] for voice in voices.values()}) > 90
    sample = client.get(voices["Elise"]["sample"])
    assert sample.headers["content-type"] == "audio/mpeg" and 2 < seconds_of(sample.content) < 8


def test_brenda_hears(client: httpx.Client):
    spoken = client.post("/v1/ai/speech/text-to-speech", json={"text": "Bonjour."}).json()["audio"]
    body = {"audio": spoken, "model_size": "small", "language": "fr"}
    answer = client.post("/v1/ai/speech/speech-to-text", json=body).json()
    assert answer["text"] == "Bonjour. Merci." and answer["language"] == "fr"
    assert answer["duration"] == 1.5
    assert answer["segments"][1] == {"start": 0.8, "end": 1.4, "text": "Merci."}


BAD: dict[str, tuple[str, dict[str, Any], int]] = {
    "no text": ("text-to-speech", {"text": " "}, 400),
    "no field": ("text-to-speech", {}, 422),
    "an unknown language": ("text-to-speech", {"text": "x", "language": "xx"}, 400),
    "an unknown voice": ("text-to-speech", {"text": "x", "voice_path": "nobody"}, 404),
    "a speed": ("text-to-speech", {"text": "x", "speed": 9}, 400),
    "too long": ("text-to-speech", {"text": "x" * 200_001}, 400),
    "nobody clones": ("text-to-speech", {"text": "x", "reference": "UklGRg=="}, 400),
    "a path out": ("text-to-speech", {"text": "x", "voice_path": "../../etc/passwd"}, 400),
    "an absolute path": ("text-to-speech", {"text": "x", "voice_path": "/etc/passwd"}, 404),
    "a link out": ("text-to-speech", {"text": "x", "voice_path": "link.wav"}, 404),
    "no such file": ("text-to-speech", {"text": "x", "voice_path": "a/none.wav"}, 404),
    "no sound": ("speech-to-text", {"audio": ""}, 400),
    "an unknown size": ("speech-to-text", {"audio": "UklGRg==", "model_size": "vast"}, 404),
    "no recording": ("speech-to-text", {"audio": "UklGRg=="}, 415),
    "no base64": ("speech-to-text", {"audio": "%%%"}, 400),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(client: httpx.Client, server: Served, case: str):
    root = server.engine.settings.data_dir / "files"
    root.mkdir(exist_ok=True)
    if not (root / "link.wav").is_symlink():
        (root / "link.wav").symlink_to("/etc/passwd")
    path, body, status = BAD[case]
    answer = client.post(f"/v1/ai/speech/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"] and str(Path.cwd()) not in answer.text
    if case == "an unknown language":
        assert "French" in answer.json()["detail"]


def test_a_format_that_is_not_written(client: httpx.Client):
    answer = client.post("/v1/audio/speech", json={"input": "x", "response_format": "wma"})
    assert answer.status_code == 415 and "mp3, opus" in answer.json()["error"]["message"]
    unknown = client.post("/v1/audio/speech", json={"input": "x", "model": "nope"})
    assert unknown.status_code == 404
    assert client.post("/v1/audio/speech", json={"input": ""}).status_code == 400


def test_a_hundred_thousand_characters(client: httpx.Client):
    """They begin at once, and whoever has enough hangs up."""
    body = {
        "input": "A sentence of ten words is said again and again. " * 2041,
        "response_format": "pcm",
    }
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        size = 0
        for piece in answer.iter_raw():
            size += len(piece)
            if size > 20 * RATE * 2:
                break
    assert answer.status_code == 200


def test_a_recording_in_another_format(client: httpx.Client):
    made = client.post("/v1/audio/speech", json={"input": TEXT, "response_format": "flac"}).content
    answer = client.post("/v1/ai/speech/convert?format=opus", content=made)
    assert answer.headers["content-type"] == "audio/ogg"
    assert seconds_of(answer.content) == pytest.approx(seconds_of(made), abs=0.1)
    assert client.post("/v1/ai/speech/convert?format=opus", content=b"x").status_code == 415


# gradio_client


def test_speak_by_gradio_client(server: Served):
    server.call(server.app.page.ready())
    gradio = server.gradio()
    try:
        file = Path(gradio.predict(text=TEXT, format="flac", api_name="/speak"))
        assert file.suffix == ".flac" and 2.5 < seconds_of(file.read_bytes()) < 7
        with pytest.raises(Exception, match="no voice"):
            gradio.predict(text="x", voice="nobody", api_name="/speak")
    finally:
        gradio.close()
