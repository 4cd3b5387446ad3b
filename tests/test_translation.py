"""Translation models of the real classes and chat models that translate, through the engine and over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from engine import (
    AtelierError,
    BadValue,
    Caller,
    Done,
    Engine,
    Event,
    ModelSpec,
    Progress,
    Segment,
    Settings,
    Source,
    Text,
    TranslateRequest,
    fold,
)
from engine.families import translate
from tests import polyglot
from tests.serving import Served, serve
from tests.tiny_translators import make_m2m100, make_marian, make_nllb

MAKERS = {"m2m100": make_m2m100, "nllb": make_nllb, "marian": make_marian}
TEXT = "Where is the station? I would like a coffee.\n\n- The museum is closed."
ME = Caller(name="test", dialect="test")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny checkpoint of each class, as the hub has them."""
    root = tmp_path_factory.mktemp("translators")
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where conversions are kept."""
    return tmp_path_factory.mktemp("data")


def spec_of(name: str, folder: Path, **options: Any) -> ModelSpec:
    return ModelSpec(
        id=name,
        does=frozenset({"translate"}),
        family="translate",
        path=str(folder),
        memory=10_000_000,
        options={"beam": 1, "quantisation": "none", **options},
    )


def engine_of(data: Path, *specs: ModelSpec) -> Engine:
    settings = Settings(data_dir=data, device="cpu", probe_local=False, _env_file=None)  # type: ignore[call-arg]
    families = {"translate": translate, "polyglot": polyglot}
    return Engine.build(settings, families=families, specs=[*specs, *polyglot.SPECS])


def run(data: Path, specs: list[ModelSpec], work: Callable[[Engine], Any]) -> Any:
    """Do something with an engine of these models."""

    async def whole() -> Any:
        engine = engine_of(data, *specs)
        await engine.start()
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(whole())


async def events_of(engine: Engine, request: TranslateRequest) -> list[Event]:
    async with aclosing(engine.translate(request, ME)) as events:
        return [event async for event in events]


def by_transformers(name: str, folder: Path, sentence: str) -> str:
    """The same checkpoint's greedy answer, by transformers alone."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    how: dict[str, Any] = {}
    if name == "m2m100":
        tokenizer.src_lang = "en"
        how["forced_bos_token_id"] = tokenizer.get_lang_id("fr")
    with torch.inference_mode():
        ids = model.generate(
            **tokenizer(sentence, return_tensors="pt"),
            num_beams=1,
            do_sample=False,
            max_new_tokens=12,
            **how,
        )
    return tokenizer.decode(ids[0], skip_special_tokens=True).replace("__fr__", "").strip()


@pytest.mark.parametrize("name", ["m2m100", "marian"])
def test_a_checkpoint_says_the_same_as_under_transformers(
    name: str, folders: dict[str, Path], data: Path
):
    sentence = "Where is the station?"
    request = TranslateRequest(model=name, text=sentence, source="en", target="fr")

    async def work(engine: Engine) -> str:
        return (await fold(engine.translate(request, ME))).text

    ours = run(data, [spec_of(name, folders[name])], work)
    theirs = by_transformers(name, folders[name], sentence)
    assert theirs and ours.replace(" ", "").startswith(theirs.replace(" ", "")[:10])


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_translation_tells(name: str, folders: dict[str, Path], data: Path):
    async def work(engine: Engine) -> list[Event]:
        request = TranslateRequest(
            model=name, text=TEXT, source="English", target="fra", glossary={"museum": "MUSÉE"}
        )
        return await events_of(engine, request)

    events = run(data, [spec_of(name, folders[name])], work)
    assert next(e for e in events if isinstance(e, Source)) == Source("en", None)
    text = "".join(e.delta for e in events if isinstance(e, Text))
    head, _, item = text.partition("\n\n- ")
    assert head and item.count("MUSÉE") == 1  # whatever random weights make of the rest
    done = events[-1]
    assert isinstance(done, Done) and done.usage.characters == len(TEXT)
    assert done.usage.input_tokens > 10 and done.usage.output_tokens > 3


def test_refusals_and_what_needs_no_model(folders: dict[str, Path], data: Path):
    specs = [spec_of("nllb", folders["nllb"]), spec_of("marian", folders["marian"])]

    async def work(engine: Engine) -> None:
        async def said(**values: Any) -> str:
            return (await fold(engine.translate(TranslateRequest(model="nllb", **values), ME))).text

        assert await said(text="Hello there.\n", source="en", target="en") == "Hello there.\n"
        assert (
            await said(text="Bonjour tout le monde", source="", target="French")
            == "Bonjour tout le monde"
        )
        for plain in ("", "🙂🙂\n 12!", "https://example.com/x"):
            assert await said(text=plain, target="fr") == plain
        with pytest.raises(BadValue, match=r"Klingon.*It knows: .*French \(fr\)"):
            await said(text="x", target="Klingon")
        with pytest.raises(BadValue, match="Klingon"):
            await said(text="x", source="Klingon", target="fr")
        with pytest.raises(BadValue, match=r"seems to be in German.*English \(en\)"):
            request = TranslateRequest(
                model="marian", text="Das ist ein ganz normaler deutscher Satz.", target="fr"
            )
            await fold(engine.translate(request, ME))
        assert set(engine.tongues("polyglot")) > {"en", "fr", "ru"}

    run(data, specs, work)


def test_a_long_text_tells_how_far_it_is_and_stops(folders: dict[str, Path], data: Path):
    text = "The museum is closed on Monday. " * 3200

    async def work(engine: Engine) -> None:
        request = TranslateRequest(model="marian", text=text, source="en", target="fr")
        seen: list[Event] = []
        async with aclosing(engine.translate(request, ME)) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, Progress) and event.done > 1000:
                    break
        progress = [e for e in seen if isinstance(e, Progress)]
        assert progress[-1].total == len(text) and progress[-1].done < len(text)
        # Its place is free at once.
        assert (
            await fold(engine.translate(request.model_copy(update={"text": "Hello."}), ME))
        ).done

    run(data, [spec_of("marian", folders["marian"])], work)


def test_several_requests_share_passes(folders: dict[str, Path], data: Path):
    texts = [f"The museum is closed. Number {n} is open." for n in range(6)]

    async def work(engine: Engine) -> None:
        async def said(text: str) -> str:
            request = TranslateRequest(model="marian", text=text, source="en", target="fr")
            return (await fold(engine.translate(request, ME))).text

        alone = [await said(text) for text in texts]
        assert await asyncio.gather(*map(said, texts)) == alone

    run(data, [spec_of("marian", folders["marian"])], work)


def test_a_broken_folder_says_so(folders: dict[str, Path], data: Path, tmp_path: Path):
    import shutil

    shutil.copytree(folders["marian"], tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"x" * 100)
    for spec in (spec_of("m", tmp_path / "m"), spec_of("none", tmp_path / "none")):

        async def work(engine: Engine, spec: ModelSpec = spec) -> None:
            request = TranslateRequest(model=spec.id, text="Hello.", source="en", target="fr")
            with pytest.raises(AtelierError, match=r"[Cc]opy|[Cc]orrect") as raised:
                await fold(engine.translate(request, ME))
            assert str(tmp_path) not in str(raised.value)

        run(data, [spec], work)


# Chat models


def ask_polyglot(data: Path, text: str, **values: Any) -> Any:
    async def work(engine: Engine) -> Any:
        request = TranslateRequest(model="polyglot", text=text, source="en", target="fr", **values)
        return await fold(engine.translate(request, ME))

    return run(data, [], work)


@pytest.mark.parametrize("habit", ["", "!chatty", "!quoted", "!lossy"])
def test_a_chat_model_translates(habit: str, data: Path):
    text = f"# One title\n\nFirst words {habit}\n\n  - the hotel\n\nlast\n"
    result = ask_polyglot(data, text, glossary={"hotel": "Auberge"})
    assert result.text == f"# enO eltit\n\ntsriF sdrow {habit}\n\n  - eht Auberge\n\ntsal\n"
    assert result.source.language == "en" and result.usage.characters == len(text)
    assert result.usage.output_tokens > 4


def test_a_passage_that_a_chat_model_does_not_translate_stays(data: Path):
    result = ask_polyglot(data, "First.\n\nSecond !mute\n\nThird !fail\n\nFourth.")
    assert result.text == "tsriF.\n\nSecond !mute\n\nThird !fail\n\nhtruoF."
    assert [s.text for s in result.segments if isinstance(s, Segment)] == [
        "Second !mute",
        "Third !fail",
    ]


def test_a_chat_translation_stops(data: Path):
    async def work(engine: Engine) -> Any:
        request = TranslateRequest(
            model="polyglot", text="one !slow\n\n" * 30, source="en", target="fr"
        )
        caller = Caller(name="t", dialect="t", session="halt-me")
        task = asyncio.ensure_future(fold(engine.translate(request, caller)))
        await asyncio.sleep(0.3)
        assert engine.stop("halt-me")
        return await asyncio.wait_for(task, 20)

    assert run(data, [], work).done.stopped


def test_a_model_that_cannot_translate_is_refused(data: Path):
    def work(engine: Engine) -> Any:
        return fold(engine.translate(TranslateRequest(model="deaf", text="x", target="fr"), ME))

    deaf = ModelSpec(id="deaf", does=frozenset({"embed"}), family="polyglot", memory=1)
    with pytest.raises(BadValue, match="These can: polyglot"):
        run(data, [deaf], work)


# Over HTTP


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], data: Path) -> Iterator[Served]:
    settings = Settings(data_dir=data, device="cpu", probe_local=False, _env_file=None)  # type: ignore[call-arg]
    spec = spec_of("nllb", folders["nllb"])
    from dataclasses import replace

    with serve(
        settings, engine=engine_of(data, replace(spec, languages=("en", "fr", "pt", "ru")))
    ) as running:
        yield running


def test_brendas_calls(server: Served):
    with server.client() as http:
        assert http.get("/v1/ai/translation/languages").json()["languages"] == [
            "en",
            "fr",
            "pt",
            "ru",
        ]
        body = {
            "text": "Hello there.",
            "from_lang": "auto",
            "to_lang": "en",
            "model": "nllb",
            "odd": 1,
        }
        answer = http.post("/v1/ai/translation/translate", json=body)
        value = answer.json()
        assert answer.status_code == 200 and answer.headers["x-ignored-params"] == "odd"
        assert (
            value["text"] == "Hello there."
            and value["from_lang"] == "en"
            and value["model"] == "nllb"
        )
        refused = http.post("/v1/ai/translation/translate", json={**body, "to_lang": "Klingon"})
        assert refused.status_code == 400 and "French (fr)" in refused.json()["detail"]
        assert http.post("/v1/ai/translation/translate", json={"text": "x"}).status_code == 422
        assert (
            http.post("/v1/ai/translation/translate", json={**body, "model": "no"}).status_code
            == 404
        )


def test_a_stream_ends_properly(server: Served):
    body = {
        "text": "One.\n\nTwo.",
        "from_lang": "en",
        "to_lang": "fr",
        "model": "polyglot",
        "stream": True,
    }
    with server.client() as http:
        lines = http.post("/v1/ai/translation/translate", json=body).text.strip().split("\n\n")
    frames = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert (
        lines[-1] == "data: [DONE]"
        and frames[0]["type"] == "source"
        and frames[-1]["type"] == "done"
    )
    assert "".join(f["content"] for f in frames if f["type"] == "text") == "enO.\n\nowT."


def test_a_file_comes_back_in_its_format(server: Served):
    text = b"# One title\n\n- `code` and **bold words**\n"
    form = {
        "to_lang": "fr",
        "from_lang": "en",
        "model": "polyglot",
        "glossary": '{"title": "TITRE"}',
    }
    with server.client() as http:
        answer = http.post("/v1/translate/file", files={"file": ("été.md", text)}, data=form)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(
            "text/markdown"
        )
        assert "%C3%A9t%C3%A9.fr.md" in answer.headers["content-disposition"]
        assert answer.text == "# enO TITRE\n\n- `code` dna **dlob sdrow**\n"
        for name, data, status in (("a.pdf", b"%PDF", 415), ("a.docx", b"PK\x03\x04", 415)):
            got = http.post("/v1/translate/file", files={"file": (name, data)}, data=form)
            assert got.status_code == status and got.json()["detail"]
        assert http.post("/v1/translate/file", data=form, files={}).status_code == 400
        lacking = http.post("/v1/translate/file", files={"file": ("a.txt", io.BytesIO(b"x"))})
        assert lacking.status_code == 400 and "to_lang" in lacking.json()["detail"]


def test_the_ledger_counts_characters(server: Served):
    body = {"text": "Where is it?", "from_lang": "en", "to_lang": "ru", "model": "nllb"}
    with server.client() as http:
        used = http.post("/v1/ai/translation/translate", json=body).json()["usage"]
    assert used["characters"] == len(body["text"])
    row = server.rows()[0]
    assert row.task == "translate" and row.dialect == "brenda" and row.status == "ok"
