"""The children that look at foreign pages: they go nowhere we would not go, and may do nothing else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from engine import AtelierError, Settings, visitors
from engine.media import Media
from tests.sites import Site
from tests.strangers import canary

pytestmark = pytest.mark.slow

HOSTILE = {
    "a film inside": "<video src='{bad}'></video>",
    "a source inside": "<video><source src='{bad}' type='video/mp4'></video>",
    "an iframe": "<iframe src='{bad}'></iframe>",
    "og:video": "<meta property='og:video' content='{bad}'><meta property='og:video:url' content='{bad}'>",
    "refresh": "<meta http-equiv='refresh' content='0; url={bad}'><video></video>",
    "a player": "<meta name='twitter:player' content='{bad}'>",
    "structured": '<script type="application/ld+json">'
    '{{"@type":"VideoObject","contentUrl":"{bad}","name":"x"}}</script>',
    "a playlist": "<video src='/list.m3u8'></video>",
    "a manifest": "<video src='/list.mpd'></video>",
    "a redirect": "<video src='/away.mp4'></video>",
    "a file": "<video src='file:///etc/passwd'></video>",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_page_leads_the_child_nowhere(
    name: str, media: Media, site: Site, settings: Settings
):
    """What yt-dlp is led to by a page, a playlist or a redirect goes past the same judge; nothing is fetched."""
    async with canary() as bird:
        bad = f"http://127.0.0.1:{bird.port}/x.mp4"
        page = f"<html><head><title>x</title></head><body>{HOSTILE[name].format(bad=bad)}</body>"
        site.pages["/p"] = (page.encode(), "text/html")
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", f'#EXT-X-KEY:METHOD=AES-128,URI="{bad}"', "#EXTINF:1,", bad,
                 "#EXTINF:1,", "file:///etc/passwd", "#EXT-X-ENDLIST"]  # fmt: skip
        site.pages["/list.m3u8"] = ("\n".join(lines).encode(), "application/vnd.apple.mpegurl")
        mpd = (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>'
            '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" codecs="avc1">'
            f"<BaseURL>{bad}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        )
        site.pages["/list.mpd"] = (mpd.encode(), "application/dash+xml")
        site.away = {"/away.mp4": bad}
        async with (
            visitors.working_folder(settings.data_dir / "media") as folder,
            media._looks.order("take", site.url("/p"), folder, 1_000_000, format="") as order,
        ):
            with pytest.raises(AtelierError):
                await visitors.ask(order, 60)
            assert not list(folder.glob("part-*.mp4"))
        assert bird.hits == 0


async def test_the_child_has_no_rights(settings: Settings, tmp_path: Path):
    """What `confining.confine` takes away, tried from inside."""
    code = """
import sys, socket, subprocess, os, json
sys.path.append(sys.argv[1])
from pathlib import Path
from visits import confining
home = Path(sys.argv[2])
confining.confine(home, 1)
tries = {
    "start": lambda: subprocess.run(["true"]), "system": lambda: os.system("true"),
    "fork": lambda: os.fork(), "read": lambda: open("/etc/passwd").read(),
    "write": lambda: open("/tmp/atelier-canary", "w"), "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    "name": lambda: socket.getaddrinfo("example.org", 80),
    "unix": lambda: socket.socket(socket.AF_UNIX).connect("/run/x"),
    "move": lambda: os.rename(home / "a", "/tmp/b"), "link": lambda: os.symlink("/etc/passwd", home / "l"),
    "bind": lambda: socket.socket().bind(("127.0.0.1", 0)), "remove": lambda: os.remove("/etc/atelier-x"),
}
held = []
for name, act in tries.items():
    try: act()
    except PermissionError as error: held.append(name) if "not allowed here" in str(error) else None
    except BaseException as error: print(name, repr(error))
(home / "fine").write_text("x")
print(json.dumps(sorted(set(tries) - set(held))))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(Path(visitors.__file__).parent), str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"
