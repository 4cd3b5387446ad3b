"""What an HTML page says of itself, and its article. Knows no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def page(order: dict[str, Any]) -> dict[str, Any]:
    """What an HTML page says of itself; with `text`, its article as Markdown."""
    import trafilatura

    html = Path(order["file"]).read_bytes()
    tree = trafilatura.load_html(html)
    if tree is None:
        return {"title": "", "text": ""}
    found: dict[str, Any] = {}
    meta = trafilatura.extract_metadata(tree, default_url=order["url"])
    for name in ("title", "author", "date", "description", "sitename", "image", "language"):
        found[name] = str(getattr(meta, name, None) or "")[:2000]
    heads = tree.xpath("//head/title/text()")
    found["title"] = found["title"] or " ".join("".join(heads).split())[:500]
    found["hints"] = bool(tree.xpath(_HINTS))
    if order.get("text"):
        text = trafilatura.extract(
            html, url=order["url"], output_format="markdown", include_tables=True,
            include_links=False, include_comments=False, include_images=False,
        )  # fmt: skip
        found["text"] = text or _plain(tree)
    return found


_HINTS = (
    "//video | //audio | //iframe | //object | //embed | //meta[starts-with(@property, 'og:video') or"
    " starts-with(@property, 'og:audio') or @name='twitter:player'] |"
    " //script[contains(text(), 'VideoObject') or contains(text(), 'AudioObject') or contains(text(), '.m3u8')]"
)


def _plain(tree: Any) -> str:
    """All that can be read on a page that is no article."""
    for element in tree.xpath("//script | //style | //noscript | //template"):
        element.drop_tree()
    lines = (" ".join(line.split()) for line in tree.text_content().splitlines())
    return "\n".join(line for line in lines if line)
