"""The gate over every path of the whole application, Gradio's own included, and signing in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from engine import Settings
from tests import probes
from tests.serving import Served, serve

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def server(server: Served) -> Served:
    """The module's server, once its page is there."""
    server.call(server.app.page.ready())
    return server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a token, once its page is there."""
    folder = tmp_path_factory.mktemp("guarded")
    with serve(Settings(data_dir=folder, device="cpu", token="secret")) as running:
        running.call(running.app.page.ready())
        yield running


def test_only_the_list_is_open(guarded: Served, record_property: Callable[[str, object], None]):
    with guarded.client() as client:
        operations = probes.our_operations(guarded)
        operations += [
            (m, p) for p in probes.gradio_paths(guarded) for m in ("GET", "POST", "DELETE")
        ]
        operations += [
            ("GET", p) for p in ("/", "/openapi.json", "/redoc", "/docs/x", "/signout", "/nothing")
        ]
        record_property("operations", len(operations))
        opened = {p for m, p in operations if client.request(m, p).status_code != 401}
        assert opened == {"/health", "/ready"}
        assert client.get("/docs").status_code == client.get("/signin").status_code == 200
        for path in (
            "/health/",
            "//health",
            "/health/../config",
            "/HEALTH",
            "/docs/../config",
            "/docs%2fx",
        ):
            assert client.get(path).status_code == 401, path


def test_the_token_opens_the_rest(guarded: Served):
    with guarded.client(headers={"authorization": "Bearer secret"}) as client:
        for path in (
            "/",
            "/config",
            "/openapi.json",
            "/v1/models",
            "/gradio_api/info",
            "/api/v1/admin/dashboard",
        ):
            assert client.get(path).status_code == 200, path


def test_refusals_speak_the_dialect(guarded: Served):
    with guarded.client() as client:
        assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/ai/models").json()["error"] == "UNAUTHORIZED"
        assert client.get("/v1/models").headers["www-authenticate"] == "Bearer"


def test_the_admin_token(served: Serve):
    running = served(token="user", admin_token="admin")
    with running.client() as client:
        for method, path in (("GET", "/api/v1/admin/dashboard"), ("DELETE", "/models/echo")):
            codes = [
                client.request(method, path, headers={"authorization": f"Bearer {t}"}).status_code
                for t in ("x", "user", "admin")
            ]
            assert codes == [401, 403, 200]


def test_signing_in_and_out(guarded: Served):
    ours = {"origin": guarded.url}
    with guarded.client(follow_redirects=False) as client:
        sent = client.get("/?view=chat", headers=HTML)
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            "/signin?next=%2F%3Fview%3Dchat",
        )
        form = client.get(sent.headers["location"]).text
        assert 'value="/?view=chat"' in form and "http" not in form.replace("http-equiv", "")
        wrong = client.post("/signin", data={"token": "x", "next": "/"}, headers=ours)
        assert (
            wrong.status_code == 401
            and 'role="alert"' in wrong.text
            and "set-cookie" not in wrong.headers
        )
        right = client.post(
            "/signin", data={"token": "secret", "next": "/?view=chat"}, headers=ours
        )
        assert (right.status_code, right.headers["location"]) == (303, "/?view=chat")
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "secret" not in cookie
        assert client.get("/", headers=HTML).status_code == 200
        ask = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        assert client.post("/v1/ai/generate", json=ask).status_code == 403
        assert client.post("/v1/ai/generate", json=ask, headers=ours).status_code == 200
        kept = dict(client.cookies)
        assert client.get("/signout").status_code == 303
        client.cookies.update(kept)
        assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "x", "/\n/a", ""]
)
def test_sign_in_stays_here(guarded: Served, target: str):
    data = {"token": "secret", "next": target}
    answer = httpx.post(f"{guarded.url}/signin", data=data, headers={"origin": guarded.url})
    assert answer.headers["location"] == "/"


def test_sign_in_escapes_and_limits(served: Serve):
    guarded = served(token="secret")
    evil = '/"><script>alert(1)</script>'
    assert "<script>alert" not in httpx.get(f"{guarded.url}/signin", params={"next": evil}).text
    codes = [
        httpx.post(f"{guarded.url}/signin", data={"token": "x"}).status_code for _ in range(12)
    ]
    assert codes[0] == 401 and codes[-1] == 429
    long = httpx.post(f"{guarded.url}/signin", data={"token": "x" * 20_000})
    assert long.status_code == 413


@pytest.mark.parametrize(
    ("accepted", "language", "word"),
    [
        ("fr-FR,fr;q=0.9", "fr", "Jeton"), ("pt-BR", "pt", "Entrar"), ("ru", "ru", "Войти"),
        ("de,en;q=0.5", "en", "Sign in"), ("", "en", "Sign in"), ("de;q=1,fr;q=0.2,ru;q=0.7", "ru", "Войти"),
        ("x;q=y," * 50, "en", "Sign in"),
    ],
)  # fmt: skip
def test_sign_in_speaks_four_languages(guarded: Served, accepted: str, language: str, word: str):
    text = httpx.get(f"{guarded.url}/signin", headers={"accept-language": accepted}).text
    assert f'<html lang="{language}">' in text and word in text


def test_an_open_server_needs_no_sign_in(server: Served):
    assert httpx.get(f"{server.url}/signin?next=/x").headers["location"] == "/x"
