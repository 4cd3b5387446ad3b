"""The sign-in form: a browser trades the token for a cookie that holds an opaque session.

Knows four languages and one form; who may sign in is `engine.Access`'s business.
"""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response

from engine import Access, AtelierError, Limited, TooLarge

FORM_LIMIT = 8_192
LIFETIME = 30 * 86_400
TEXTS = {
    "en": {
        "title": "Sign in",
        "lead": "This server asks for its access token.",
        "token": "Token",
        "button": "Sign in",
        "wrong": "That token is not the right one. Ask whoever runs this server.",
        "often": "Too many wrong tokens. Try again in a few minutes.",
    },
    "fr": {
        "title": "Se connecter",
        "lead": "Ce serveur demande son jeton d’accès.",
        "token": "Jeton",
        "button": "Se connecter",
        "wrong": "Ce jeton n’est pas le bon. Demandez-le à la personne qui gère ce serveur.",
        "often": "Trop de jetons erronés. Réessayez dans quelques minutes.",
    },
    "pt": {
        "title": "Entrar",
        "lead": "Este servidor pede o seu token de acesso.",
        "token": "Token",
        "button": "Entrar",
        "wrong": "Este token não está certo. Peça-o a quem gere este servidor.",
        "often": "Demasiados tokens errados. Tente de novo dentro de alguns minutos.",
    },
    "ru": {
        "title": "Вход",
        "lead": "Этот сервер просит токен доступа.",
        "token": "Токен",
        "button": "Войти",
        "wrong": "Токен неверный. Спросите того, кто управляет этим сервером.",
        "often": "Слишком много неверных токенов. Попробуйте через несколько минут.",
    },
}
PAGE = """<!doctype html>
<html lang="{lang}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Atelier</title>
<link rel="icon" href="data:,">
<style>
  :root {{ --page: #faf8f4; --card: #fff; --line: #e3ded4; --ink: #23282d; --soft: #66635d;
    --accent: #12726d; --on: #fff; --bad: #b3261e }}
  @media (prefers-color-scheme: dark) {{ :root {{ --page: #101518; --card: #171e22; --line: #29343a;
    --ink: #e4e9ea; --soft: #97a3a8; --accent: #74c7bd; --on: #062625; --bad: #ffb4ab }} }}
  * {{ box-sizing: border-box }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
    background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }}
  main {{ width: min(24rem, 100%); padding: 2rem; background: var(--card);
    border: 1px solid var(--line); border-radius: 14px }}
  h1 {{ font-size: 1.25rem; margin: 0 0 .25rem }}
  p {{ margin: 0 0 1.25rem; color: var(--soft) }}
  p[role=alert] {{ color: var(--bad) }}
  label {{ display: block; font-weight: 600; margin-bottom: .35rem }}
  input, button {{ font: inherit; width: 100%; padding: .65rem .8rem; border-radius: 9px }}
  input {{ background: var(--page); color: inherit; border: 1px solid var(--line) }}
  button {{ margin-top: 1rem; border: 0; background: var(--accent); color: var(--on);
    font-weight: 600; cursor: pointer }}
  :focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px }}
</style>
<main>
  <h1>Atelier</h1>
  <p>{lead}</p>
  {alert}
  <form method="post" action="{action}">
    <label for="token">{token}</label>
    <input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
    <input type="hidden" name="next" value="{next}">
    <button>{button}</button>
  </form>
</main>
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/signin")
async def show(http: HttpRequest, next: str = "/") -> Response:
    if access_of(http).is_open:
        return RedirectResponse(local(next), 303)
    return _page(http, next)


@router.post("/signin")
async def sign_in(http: HttpRequest) -> Response:
    form = parse_qs((await _read(http)).decode("utf-8", "replace"), keep_blank_values=True)
    token, target = form.get("token", [""])[0], form.get("next", ["/"])[0]
    address = http.client.host if http.client else "local"
    try:
        session = await access_of(http).sign_in(token, address)
    except AtelierError as error:
        return _page(http, target, error)
    answer = RedirectResponse(http.scope.get("root_path", "") + local(target), 303)
    answer.set_cookie(
        http.app.state.cookie,
        session,
        max_age=LIFETIME,
        httponly=True,
        samesite="lax",
        secure=http.url.scheme == "https",
    )
    return answer


@router.api_route("/signout", methods=["GET", "POST"])
async def sign_out(http: HttpRequest) -> Response:
    await access_of(http).sign_out(http.cookies.get(http.app.state.cookie, ""))
    answer = RedirectResponse(http.scope.get("root_path", "") + "/signin", 303)
    answer.delete_cookie(http.app.state.cookie, httponly=True, samesite="lax")
    return answer


def access_of(http: HttpRequest) -> Access:
    """The tokens and sessions."""
    access: Access = http.app.state.access
    return access


def local(target: str) -> str:
    """A path of this server to go to; the front page instead of anything else."""
    plain = target.startswith("/") and target[1:2] not in {"/", "\\"}
    return target if plain and target.isprintable() else "/"


def language(accepted: str) -> str:
    """The first language of an Accept-Language header that there are texts for, else English."""
    wanted: list[tuple[float, str]] = []
    for part in accepted.split(",")[:20]:
        tag, _, quality = part.partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        wanted.append((-weight, tag.strip().lower()[:2]))
    return next((tag for _, tag in sorted(wanted, key=lambda w: w[0]) if tag in TEXTS), "en")


def _page(http: HttpRequest, target: str, error: AtelierError | None = None) -> Response:
    lang = language(http.headers.get("accept-language", ""))
    texts = TEXTS[lang]
    alert, headers = "", {"cache-control": "no-store", "vary": "Accept-Language"}
    if error is not None:
        said = texts["often" if isinstance(error, Limited) else "wrong"]
        alert = f'<p role="alert">{said}</p>'
        if error.retry_after is not None:
            headers["retry-after"] = str(round(error.retry_after) + 1)
    values = {
        **texts,
        "lang": lang,
        "alert": alert,
        "next": escape(local(target)),
        "action": escape(http.scope.get("root_path", "") + "/signin"),
    }
    status = error.status if error is not None else 200
    return HTMLResponse(PAGE.format_map(values), status, headers)


async def _read(http: HttpRequest) -> bytes:
    body = b""
    async for chunk in http.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            raise TooLarge("This form is longer than a token can be.")
    return body
