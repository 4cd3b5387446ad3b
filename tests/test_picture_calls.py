"""`/vision /label /detect /ocr` as `gradio_client` sees them, on a real server with models that see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Settings
from tests import echo, seer
from tests.serving import Served, serve, until
from ui.samples import FOLDER

pytestmark = pytest.mark.slow  # a server with the page
PICTURE, DOCUMENT = str(FOLDER / "shapes.png"), str(FOLDER / "booklet-en.pdf")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("calls")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(
        settings, specs=[*echo.SPECS, *seer.SPECS], families={"echo": echo, "seer": seer}
    )
    with serve(settings, None, engine) as running:
        running.call(running.app.page.ready())
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[Any]:
    made = server.gradio()
    yield made
    made.close()


def file(path: str) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


def test_what_clients_are_told(client: Any) -> None:
    calls = client.view_api(return_format="dict")["named_endpoints"]
    names = {call: [p["parameter_name"] for p in calls[call]["parameters"]] for call in calls}
    assert names["/vision"] == ["image", "prompt", "model", "max_tokens"]
    assert names["/label"] == ["image", "labels", "model"]
    assert names["/detect"] == ["image", "words", "threshold", "model"]
    assert names["/ocr"][:4] == ["file", "language", "model", "pages"]
    for call in ("/vision", "/label", "/detect", "/ocr"):
        first, *rest = calls[call]["parameters"]
        assert first["python_type"]["type"] == "filepath" and not first["parameter_has_default"]
        assert all(p["parameter_has_default"] for p in rest) and calls[call]["description"]


def test_a_picture_is_asked_about_and_streams(client: Any, server: Served) -> None:
    job = client.submit(file(PICTURE), "!slow what do you see here now", api_name="/vision")
    assert job.result(timeout=60) == "I see 1280x960 in turn 1: !slow what do you see here now"
    assert len({text for text in job.outputs() if text}) > 2
    row = server.rows(limit=1)[0]
    assert (row.dialect, row.model, row.status) == ("gradio", "seer", "ok")


def test_labels_and_things(client: Any) -> None:
    labels = client.predict(file(PICTURE), "a, bbb", api_name="/label")
    assert [row["label"] for row in labels] == ["bbb", "a"] and labels[0]["score"] == 0.75
    things = client.predict(file(PICTURE), words="red ball", api_name="/detect")
    assert things == [{"label": "red ball", "score": 0.9, "box": [0.0, 0.0, 384.0, 288.0]}]


def test_a_document_is_read(client: Any) -> None:
    text, pages = client.predict(
        file(DOCUMENT), pages="2-3", dpi=80, text_layer=False, api_name="/ocr"
    )
    assert text.count("nothing that matters.") == 2
    assert [page["number"] for page in pages] == [2, 3] and pages[0]["count"] == 3
    assert (
        pages[0]["lines"][0]["text"] == "The first line 2" and len(pages[0]["lines"][0]["box"]) == 4
    )


def test_a_cancelled_call_stops_the_engine(client: Any, server: Served) -> None:
    job = client.submit(file(PICTURE), "!slow " + "word " * 2000, api_name="/vision")
    assert until(lambda: server.running)
    job.cancel()
    assert until(lambda: not server.running) is True


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        ("/vision", {"prompt": "x", "model": "nothing"}, "not in the catalog"),
        ("/vision", {"prompt": "x", "model": "finder"}, "cannot chat"),
        ("/label", {"labels": "x" * 300}, "labels"),
        ("/detect", {"threshold": 2}, "threshold"),
    ],
)
def test_refusals_say_why(client: Any, call: str, given: dict[str, Any], said: str) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=said):
        client.predict(file(PICTURE), api_name=call, **given)


def test_a_page_range_that_makes_no_sense(client: Any) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="page"):
        client.predict(file(DOCUMENT), pages="7-", api_name="/ocr")


@pytest.mark.parametrize("call", ["vision", "label", "detect", "ocr"])
@pytest.mark.parametrize("meta", [True, False])
def test_no_other_file_is_read(server: Served, tmp_path: Path, call: str, meta: bool) -> None:
    """A path that was not uploaded by anybody, told as Gradio's own files are and as a plain object."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(Path(PICTURE).read_bytes())
    given = {"path": str(secret), "orig_name": "x.png"}
    given |= {"meta": {"_type": "gradio.FileData"}} if meta else {}
    before = len(server.rows())
    with server.client() as http:
        event = http.post(f"/gradio_api/call/{call}", json={"data": [given]}).json()
        answer = http.get(f"/gradio_api/call/{call}/{event['event_id']}").text
    assert "event: error" in answer and "I see" not in answer and "matters" not in answer
    assert len(server.rows()) == before
