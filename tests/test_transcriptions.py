"""OpenAI's transcriptions and translations, driven by the `openai` package itself."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from engine import Engine, ModelSpec, Settings
from engine.families import whisper
from engine.subtitles import parse_subtitles
from tests.serving import Served, serve
from tests.test_sounds import ffmpeg
from tests.tiny_whisper import say, tone_free

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
TALK = "hello world, how are you today? this is a test of speech, and it goes on for a while. "


@pytest.fixture(scope="module")
def heard(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("transcriptions")
    path = str(random_whisper)
    does = frozenset({"transcribe"})
    told = {"beams": 1, "max_new_tokens": 8}
    specs = [
        ModelSpec("tiny", does, "whisper", path=path, options=told),
        ModelSpec("plain", does, "whisper", path=path, options={**told, "tasks": ["transcribe"]}),
    ]
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(settings, families={"whisper": whisper}, specs=specs)
    with serve(settings, engine=engine) as running:
        yield running


@pytest.fixture(scope="module")
def client(heard: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{heard.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def talk() -> tuple[str, bytes]:
    return "talk.mp3", ffmpeg(say(TALK * 8), "-f", "mp3")


def test_json_text_and_the_ledger(
    client: openai.OpenAI, heard: Served, talk: tuple[str, bytes]
) -> None:
    made = client.audio.transcriptions.create(model="whisper-1", file=talk)
    assert made.text
    assert made.usage is not None and made.usage.type == "duration"
    assert 30 < made.usage.seconds < 70
    text = client.audio.transcriptions.create(model="tiny", file=talk, response_format="text")
    assert text == made.text + "\n"
    row = heard.rows(limit=1)[0]
    assert (row.task, row.model, row.status, row.dialect) == ("transcribe", "tiny", "ok", "openai")
    assert row.output.strip() == made.text


def test_verbose_json_with_words(client: openai.OpenAI, talk: tuple[str, bytes]) -> None:
    made = client.audio.transcriptions.create(
        model="tiny", file=talk, response_format="verbose_json", language="fr",
        timestamp_granularities=["word", "segment"],
    )  # fmt: skip
    assert made.language == "french"
    assert 30 < made.duration < 70
    assert made.segments and made.words
    first = made.segments[0]
    assert (first.id, first.temperature) == (0, 0)
    assert first.avg_logprob < 0
    assert [s.id for s in made.segments] == list(range(len(made.segments)))
    assert " ".join(w.word for w in made.words) == made.text
    only = client.audio.transcriptions.create(
        model="tiny", file=talk, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert only.words and only.segments is None


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles(client: openai.OpenAI, talk: tuple[str, bytes], kind: str) -> None:
    made = client.audio.transcriptions.create(model="tiny", file=talk, response_format=kind)  # type: ignore[call-overload]
    assert made.startswith("WEBVTT" if kind == "vtt" else "1\n00:00:0")
    cues = parse_subtitles(made)
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)


def test_a_stream_has_the_documented_events(client: openai.OpenAI, talk: tuple[str, bytes]) -> None:
    whole = client.audio.transcriptions.create(model="tiny", file=talk)
    events = list(client.audio.transcriptions.create(model="tiny", file=talk, stream=True))
    assert {event.type for event in events[:-1]} == {"transcript.text.delta"}
    last = events[-1]
    assert last.type == "transcript.text.done"
    assert last.text == "".join(event.delta for event in events[:-1]) == whole.text
    assert last.usage is not None and last.usage.output_tokens > 0
    raw = client.with_options(max_retries=0).audio.transcriptions.with_raw_response
    more = raw.create(
        model="tiny", file=talk, stream=True, include=["logprobs"], timestamp_granularities=["word"],
        extra_body={"include": ["srt", "vtt", "logprobs"]},
    )  # fmt: skip
    assert more.headers["x-ignored-params"] == "include.logprobs"
    text = more.http_response.read().decode()
    lines = [json.loads(x[6:]) for x in text.split("\n") if x.startswith("data: {")]
    assert " of " in text  # progress, in comments
    assert lines[0]["words"][0]["start"] == lines[0]["start"]
    assert parse_subtitles(lines[-1]["srt"])[0].start == parse_subtitles(lines[-1]["vtt"])[0].start


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's own, of this call
def test_translations(client: openai.OpenAI, talk: tuple[str, bytes]) -> None:
    assert client.audio.translations.create(model="tiny", file=talk).text
    verbose = client.audio.translations.create(
        model="tiny", file=talk, response_format="verbose_json"
    )
    assert verbose.segments and verbose.duration > 30
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        client.audio.translations.create(model="plain", file=talk)


def test_bad_input(client: openai.OpenAI, heard: Served, talk: tuple[str, bytes]) -> None:
    create = client.audio.transcriptions.create
    for data, status, param in ((b"", 400, "audio"), (b"words " * 99, 415, "audio")):
        with pytest.raises(openai.APIStatusError) as caught:
            create(model="tiny", file=("x.wav", data))
        assert (caught.value.status_code, caught.value.param) == (status, param)
    with pytest.raises(openai.BadRequestError, match=r"It knows: .*fr \(French\)"):
        create(model="tiny", file=talk, language="tlhIngan")
    with pytest.raises(openai.NotFoundError, match="Nearest"):
        create(model="tiin", file=talk)
    with pytest.raises(openai.BadRequestError, match="verbose_json"):
        create(model="tiny", file=talk, timestamp_granularities=["word"])
    with pytest.raises(openai.BadRequestError, match="response_format"):
        create(model="tiny", file=talk, response_format="docx")  # type: ignore[call-overload]
    with pytest.raises(openai.BadRequestError, match="temperature"):
        create(model="tiny", file=talk, temperature=7)
    with heard.client() as http:
        path = "/v1/audio/transcriptions"
        assert http.post(path, data={"model": "tiny"}).status_code == 400
        assert http.post(path, json={"model": "tiny"}).status_code == 400
        odd = http.post(
            path,
            files={"file": talk},
            data={"model": "tiny", "speed": "fast", "chunking_strategy": "auto"},
        )
        assert odd.status_code == 200
        assert odd.headers["x-ignored-params"] == "speed, chunking_strategy"


def test_silence_is_empty_text(client: openai.OpenAI) -> None:
    quiet = ("quiet.wav", tone_free(3, 192_000, 2))
    assert client.audio.transcriptions.create(model="tiny", file=quiet).text == ""
    verbose = client.audio.transcriptions.create(
        model="tiny", file=quiet, response_format="verbose_json"
    )
    assert (verbose.text, verbose.segments, verbose.duration) == ("", [], 3.0)
    assert client.audio.transcriptions.create(model="tiny", file=quiet, response_format="srt") == ""


def test_a_film_is_heard(client: openai.OpenAI) -> None:
    film = ffmpeg(say(TALK), "-f", "lavfi", "-i", "testsrc=d=2:r=5", "-f", "matroska")
    assert client.audio.transcriptions.create(
        model="tiny", file=("film.mkv", io.BytesIO(film))
    ).text


def test_it_is_documented(heard: Served) -> None:
    with heard.client() as http:
        described = http.get("/openapi.json").json()["paths"]["/v1/audio/transcriptions"]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"file", "model", "language", "response_format", "stream"} <= set(form)
    assert json.dumps(described)
