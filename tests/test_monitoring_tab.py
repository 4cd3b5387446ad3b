"""The Monitoring tab: what it paints of samples, rows, containers and records; and itself in a real browser."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Container, EngineStatus, LaneStatus, Load, Record, Row, Settings, Total
from engine.containers import Containers
from engine.system import SERIES, Gpu, Process, Sample
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab
from tests.serving import Served, serve
from ui import monitoring_charts, monitoring_lists, monitoring_live, monitoring_usage
from ui.monitoring_usage import Choice

NASTY = "<img src=x onerror=alert(1)>\n'\""
NOW = datetime(2030, 5, 5, 12, tzinfo=UTC)
GPU = Gpu(0, f"H200 {NASTY}", 150_000_000_000, 30_000_000_000, 83.0, 54.0, 412.0, 700.0)
SAMPLE = Sample(
    time=1.0, cpu_percent=12.4, cores=16, load=(1.0, 1.0, 1.0), memory_total=100, memory_available=40,
    disk_total=100, disk_used=25, disk_free=75, received=1, sent=1, received_s=2000.0, sent_s=10.0, gpus=(GPU,),
    process=Process(7, 1.0, 812_000_000, 24, 61, 3700.0, 0.002),
    engine=EngineStatus("1", 1.0, (LaneStatus("cpu", "CPU", 100, 60, 80, 25, 3, 1, ()),)), tokens_s=41.5,
)  # fmt: skip


def clean(html: str) -> str:
    """The HTML, which must hold no foreign element and stay on one line."""
    assert "<img" not in html and "\n" not in html
    return html


@pytest.mark.parametrize("language", ["en", "fr", "pt", "ru"])
def test_tiles(language: str) -> None:
    past = {name: [0.0, 5.0, 2.0] for name in SERIES}
    html = clean(monitoring_live.tiles(SAMPLE, past, language))
    assert html.count('class="tile"') == 8 and "12 %" in html and "83 %" in html
    assert "54 °C" in html and "412 W" in html and ">42<" in html and "812 MB" in html
    empty = monitoring_live.tiles(SAMPLE, {name: [] for name in SERIES}, language)
    assert empty.count("<svg") == html.count("<svg") == 7


def test_a_line_stays_in_its_box() -> None:
    for values in ([], [5.0], [0.0] * 10, [1e12, 0.0, -3.0], list(map(float, range(500)))):
        drawn = monitoring_live.spark(values)
        numbers = [float(n) for n in re.findall(r"[ML,]([\d.]+)", drawn.partition('d="')[2])]
        assert numbers and all(0 <= n <= monitoring_live.WIDTH for n in numbers)
    assert monitoring_live.spark([50.0, 50.0], 100.0) != monitoring_live.spark([50.0, 50.0])


def test_choices_are_ours_and_nothing_else() -> None:
    form = {"period": "30", "by": "project", "measure": "pages", "model": " m ", "project": None}
    choice = Choice.of(form, "")
    assert choice.filters(NOW) == {"since": NOW - timedelta(days=30), "model": "m"}
    odd = Choice.of({"period": "1e9", "by": "output", "measure": "secrets", "task": "x" * 999}, "s")
    assert (odd.days, odd.by, odd.measure, len(odd.words["task"])) == (
        7.0,
        "model",
        "requests",
        256,
    )
    assert odd.filters(NOW)["session"] == "s"
    assert Choice.of({"period": "7"}, "").moments(NOW)[-1] == "2030-05-05"
    assert len(Choice.of({"period": "7"}, "").moments(NOW)) == 8
    assert Choice.of({"period": "1"}, "").moments(NOW)[-2:] == [
        "2030-05-05 11:00",
        "2030-05-05 12:00",
    ]


def total(key: str, **values: Any) -> Total:
    zeros = {name: 0 for name in Total.__dataclass_fields__ if name != "key"}
    return Total(key, **{**zeros, **values})


def test_usage_is_told_in_its_units() -> None:
    totals = [
        total("m", requests=1200, input_tokens=1_500_000, output_tokens=10, run_s=12.5),
        total(NASTY, requests=3, pages=4, failed=2),
        total("", requests=1),
    ]
    html = clean(monitoring_usage.overview(totals, Choice.of({}, ""), {"m": "Model M"}, "en"))
    assert "Model M" in html and "1.5 M" in html and "1 204" in html and "none given" in html
    assert "Pages" in html and "Audio" not in html and 'class="tile bad"' in html
    assert html.count("api/v1/admin/usage/export?since=") == 2 and "format=parquet" in html
    assert "export" not in monitoring_usage.overview(totals, Choice.of({}, "mine"), {}, "en")
    assert "Nothing was used" in monitoring_usage.overview([], Choice.of({}, ""), {}, "en")


def test_rows_and_their_pages() -> None:
    row = Row(
        started_at=NOW,
        model="m",
        task=NASTY,
        project=NASTY,
        status="OUT_OF_MEMORY",
        request_id="q1",
        pages=3,
    )
    html = clean(monitoring_usage.latest([row] * 50, 50, {}, "en"))
    assert (
        html.count("<tr data-key") == 50
        and "3 pages" in html
        and 'badge bad">OUT_OF_MEMORY' in html
    )
    assert 'data-offset="0">' in html and 'data-offset="100">' in html
    assert monitoring_usage.latest([row], 0, {}, "en").count(" disabled") == 2
    assert [monitoring_usage.number(n) for n in (0, 3.25, 1234, 56_789, 3_100_000, 2e9)] == [
        "0", "3.2", "1 234", "56.8 k", "3.1 M", "2.0 G",
    ]  # fmt: skip


def test_containers_and_records() -> None:
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": []}
    up = Container(
        "a" * 64, NASTY, "running", NASTY, "", ports, "Up 3 hours", Load(12.5, 50.0, 5, 10)
    )
    off = Container("b" * 64, "brenda-b", "exited", "i", "", {})
    html = clean(monitoring_lists.containers([up, off], up.id, NASTY, "brenda", "en"))
    assert "8080 → 80/tcp" in html and "12.5 %" in html and 'aria-expanded="true"' in html
    assert html.count('data-act="ask_stop"') == 1 and html.count('data-act="start"') == 1
    assert "brenda" in monitoring_lists.containers([], "", "", "brenda", "en")
    assert 'data-act="stop"' in clean(monitoring_lists.confirm("stop", up.id, NASTY, "fr"))
    record = Record(1, 0.0, "ERROR", "atelier.x", NASTY, "q<1>", f"ValueError: {NASTY}", {})
    html = clean(monitoring_lists.log([record], "en"))
    assert 'class="record error"' in html and "q&lt;1&gt;" in html
    assert "Nothing in the log" in monitoring_lists.log([], "en")


def test_figures_hold_all_that_was_used() -> None:
    series = [("2030-05-04", f"m{n}", float(n)) for n in range(12)] + [("2030-05-05", "m11", 2.0)]
    figure = monitoring_charts.amounts(
        series, ["2030-05-04", "2030-05-05"], {"m11": "Eleven"}, "en"
    )
    assert len(figure.data) == monitoring_charts.TOP + 1
    assert figure.data[0].name == "Eleven" and list(figure.data[0].y) == [11.0, 2.0]
    assert sum(sum(bar.y) for bar in figure.data) == sum(n for _, _, n in series)
    past = {name: [1.0, 2.0] for name in SERIES}
    assert len(monitoring_charts.hour(past, True, "ru").data) == 5
    assert len(monitoring_charts.hour({name: [] for name in SERIES}, False, "en").data) == 3


# In a browser


class Theirs(Containers):
    """Two containers without an engine: what the page does with them is looked at here, they are elsewhere."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.states = {"a" * 64: "running", "b" * 64: "exited"}

    def _asked(self, fn: Any, *args: Any) -> Any:
        return fn(*args)

    def _engine(self) -> Any:
        rows = [
            {"Id": n, "Names": [f"/brenda-{n[0]}"], "State": state, "Image": "tiny:1", "Created": 0}
            for n, state in self.states.items()
        ]
        stats = {"memory_stats": {"usage": 5, "limit": 10}, "cpu_stats": {}}
        return SimpleNamespace(
            api=SimpleNamespace(
                containers=lambda **more: rows,
                stats=lambda name, **more: stats,
                logs=lambda name, **more: b"hello <b>from inside</b>\n",
                start=lambda name: self.states.update({name: "running"}),
                stop=lambda name, **more: self.states.update({name: "exited"}),
                restart=lambda name, **more: None,
            )
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from tests.serving import echo_engine

    folder = tmp_path_factory.mktemp("monitoring")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = echo_engine(settings)
    engine.monitor.containers = Theirs(settings)
    ours = logging.getLogger("atelier")
    ours.setLevel("INFO")  # as `write_logs` has it
    with serve(settings, None, engine) as running:
        running.call(running.app.page.ready())
        yield running
    ours.setLevel("NOTSET")


def opened(tab: Tab) -> Any:
    tab.page.set_default_timeout(6 * PATIENCE * 1000)
    tab.open()
    tab.turn("monitoring")
    tab.page.wait_for_selector("#monitoring .tile")
    return tab.page


def looks(page: Any) -> int:
    return int(
        page.evaluate(
            "(document.querySelector('#monitoring-look textarea')?.value || '#0').split('#').at(-1)"
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("server")
class TestBrowser:
    """One page, lived through."""

    pytestmark = NEEDS_CHROMIUM

    def test_all_parts(self, opens: Opens, server: Served) -> None:
        with server.client() as client:
            body = {"agent": "echo", "content": "one two three", "project": "<b>alpha"}
            name = client.post("/api/v1/ai/ask_sync", json=body).headers["x-request-id"]
        with opens() as tab:
            page = opened(tab)
            page.wait_for_selector("#monitoring-hour .js-plotly-plot")
            page.click("#monitoring [data-act=unload]")  # the model that answered leaves the memory
            tab.wait("!document.querySelector('#monitoring .chip-row')")

            page.click("#monitoring-show-usage")
            page.wait_for_selector("#monitoring .sums tbody tr")
            page.wait_for_selector("#monitoring-amounts .js-plotly-plot")
            assert "one two" not in page.inner_text("#monitoring")  # no texts here
            page.fill("#monitoring-project input, #monitoring-project textarea", "nobody")
            tab.wait("!document.querySelector('#monitoring .sums')")
            page.fill("#monitoring-project input, #monitoring-project textarea", "<b>alpha")
            page.wait_for_selector("#monitoring .rows tbody tr")
            with page.expect_download() as download:
                page.click("#monitoring .files a >> nth=0")
            assert name in download.value.path().read_text()

            # A request's id leads to the log.
            page.click("#monitoring .rows code")
            page.wait_for_selector("#monitoring .record")
            assert name in page.inner_text("#monitoring .record")

            page.click("#monitoring-show-containers")
            page.wait_for_selector("#monitoring .crate")
            page.click("#monitoring [data-output]")
            page.wait_for_selector("#monitoring .output")
            assert page.inner_text("#monitoring .output") == "hello <b>from inside</b>\n"
            page.click("#monitoring [data-act=ask_stop]")
            page.click("#monitoring-view dialog .act.stop")
            tab.wait("document.querySelectorAll('#monitoring [data-act=start]').length === 2")
            tab.clean()

            # Nothing is asked while another tab is open.
            page.click("#tab-chat-button")
            time.sleep(1.5)
            before = looks(page)
            time.sleep(4)
            assert looks(page) == before

    def test_on_a_phone_in_the_dark(self, opens: Opens) -> None:
        with opens(locale="ru-RU", scheme="dark", width=390, height=800) as tab:
            page = opened(tab)
            for part in ("now", "usage", "containers", "log", "doctor"):
                page.evaluate(f"document.querySelector('#monitoring-show-{part}').click()")
                tab.wait(f"document.querySelector('#monitoring').dataset.part === '{part}'")
                time.sleep(0.5)
                assert max(tab.overflow()[:2]) <= 0, part
            tab.clean()
