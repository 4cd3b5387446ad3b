"""`/docs` and `/redoc` from files on this machine: the framework's own pages load theirs from a CDN.

`/docs` needs no token, but the description it shows does: it asks for the token when there is one.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import FileResponse, HTMLResponse, Response

FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png")
FREE = ("/docs", *(f"/docs/{name}" for name in FILES))  # what the gate lets pass

LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

router = APIRouter(include_in_schema=False)

SWAGGER = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier API</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<style>
  body { margin: 0 }
  #ask { font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 0 1rem }
  #ask input, #ask button { font: inherit; padding: .5rem .75rem; width: 100%;
    box-sizing: border-box; margin-top: .5rem }
</style>
<form id="ask" hidden>
  <label for="token">This server asks for a token (ATELIER_TOKEN).</label>
  <input id="token" type="password" autocomplete="off" required>
  <button>Show the API</button>
  <p id="wrong" role="alert" hidden>That token is not the right one.</p>
</form>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>
  const ask = document.getElementById("ask");
  let token = "";
  const signed = () => token ? { Authorization: "Bearer " + token } : {};
  async function show() {
    const answer = await fetch("openapi.json", { headers: signed() });
    if (!answer.ok) {
      document.getElementById("wrong").hidden = !token;
      ask.hidden = false;
      return;
    }
    ask.hidden = true;
    SwaggerUIBundle({
      spec: await answer.json(), dom_id: "#api", deepLinking: true, tryItOutEnabled: true,
      validatorUrl: null,
      requestInterceptor: (r) => { Object.assign(r.headers, signed()); return r; },
    });
  }
  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    token = document.getElementById("token").value;
    show();
  });
  show();
</script>
</html>
"""

REDOC = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier API</title>
<link rel="icon" href="docs/favicon.png">
<style>body { margin: 0 }</style>
<redoc spec-url="openapi.json" hide-loading></redoc>
<script src="docs/redoc.standalone.js"></script>
</html>
"""


@router.get("/docs")
async def docs() -> Response:
    return HTMLResponse(SWAGGER)


@router.get("/redoc")
async def redoc() -> Response:
    return HTMLResponse(REDOC)


@router.get("/docs/{name}")
async def asset(name: str, http: HttpRequest) -> Response:
    if name not in FILES:
        return Response(status_code=404)
    kept = {"cache-control": "public, max-age=86400"}
    if name == "redoc.standalone.js":
        return Response(_redoc(), headers=kept, media_type="text/javascript")
    return FileResponse(_folder() / name, headers=kept)


@cache
def _redoc() -> bytes:
    """ReDoc without the address of its logo, which lies on a CDN."""
    return (_folder() / "redoc.standalone.js").read_bytes().replace(LOGO, b"data:,")


@cache
def _folder() -> Path:
    """Where the `fastapi-offline` package keeps Swagger UI and ReDoc; it is not imported."""
    spec = importlib.util.find_spec("fastapi_offline")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "static"
