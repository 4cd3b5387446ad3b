"""Files: only the words change."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from engine.errors import BadFormat, TooLarge
from engine.passages import split
from engine.translated_files import open_file

MARKDOWN = """---
title: kept
---
# Hello **big** world

Text with `code here` and a [link text](http://a.b/c_(d)) end.

```py
print("kept")
```
- item *one*
- [ ] task

| a head | b |
|:---|---|
| cell one | cell **two** |
"""
HTML = (
    "<!doctype html><html><head><title>My page</title><style>p{kept}</style></head><body class='kept'>"
    "<p>Hello <b>big</b> world &amp; more</p><script>var kept</script><ul><li>One<li>Two</ul></body></html>"
)
SRT = (
    "1\r\n00:00:01,000 --> 00:00:02,500\r\nHello <i>there</i>\r\nmy dear friend.\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000\r\n- Bye.\r\n- See you.\r\n"
)
VTT = "WEBVTT\n\nNOTE kept\n\n00:01.000 --> 00:02.000 align:start\nHello\n"


def shout(text: str) -> str:
    return "".join(p.put(p.text.upper()) if p.said else p.text for p in split(text))


def translated(name: str, data: bytes) -> bytes:
    opened = open_file(data, name)
    return opened.put(shout(opened.text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", MARKDOWN),
        ("a.html", HTML),
        ("a.srt", SRT),
        ("a.vtt", VTT),
        ("a.txt", "One.\n\n- Two\n"),
    ],
)
def test_a_file_whose_words_do_not_change_does_not_change(name: str, text: str):
    opened = open_file(text.encode(), name)
    assert opened.put(opened.text) == text.encode()


def test_markdown():
    made = translated("a.md", MARKDOWN.encode()).decode()
    for kept in (
        "title: kept",
        'print("kept")',
        "](http://a.b/c_(d))",
        "|:---|---|",
        "- [ ] TASK",
        "- ITEM *ONE*",
    ):
        assert kept in made
    assert "# HELLO **BIG** WORLD" in made and "| CELL ONE | CELL **TWO** |" in made
    assert "`code here`" in open_file(MARKDOWN.encode(), "a.md").kept


def test_html():
    made = translated("a.html", HTML.encode()).decode()
    assert "<p>HELLO <b>BIG</b> WORLD &amp; MORE</p>" in made and "<title>MY PAGE</title>" in made
    assert (
        "p{kept}" in made
        and "var kept" in made
        and "class='kept'" in made
        and "<li>ONE<li>TWO" in made
    )


def test_subtitles():
    made = translated("a.srt", SRT.encode()).decode()
    assert made.startswith(
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nHELLO <i>THERE</i>\r\nMY DEAR FRIEND.\r\n\r\n2\r\n"
    )
    assert made.endswith("- BYE.\r\n- SEE YOU.\r\n")
    assert "NOTE kept" in (vtt := translated("a.vtt", VTT.encode()).decode()) and vtt.endswith(
        "start\nHELLO\n"
    )


def word(fill: Any) -> bytes:
    import docx

    document = docx.Document()
    fill(document)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_word_documents():
    import docx

    def fill(document: Any) -> None:
        document.add_heading("The title", 1)
        paragraph = document.add_paragraph("This is ")
        paragraph.add_run("very bold").bold = True
        paragraph.add_run(" text here.")
        split_run = document.add_paragraph("Hel")
        split_run.add_run("lo world.")
        document.add_paragraph("an item", style="List Bullet")
        document.add_table(1, 2).cell(0, 1).text = "A cell"
        document.sections[0].header.paragraphs[0].text = "The header"
        document.add_paragraph("12345")

    made = docx.Document(io.BytesIO(translated("letter.docx", word(fill))))
    texts = [p.text for p in made.paragraphs]
    assert texts[:5] == [
        "THE TITLE",
        "THIS IS VERY BOLD TEXT HERE.",
        "HELLO WORLD.",
        "AN ITEM",
        "12345",
    ]
    assert [(run.text, run.bold) for run in made.paragraphs[1].runs][1] == ("VERY BOLD ", True)
    assert (
        made.paragraphs[0].style.name == "Heading 1"
        and made.paragraphs[3].style.name == "List Bullet"
    )
    assert made.tables[0].cell(0, 1).text == "A CELL"
    assert made.sections[0].header.paragraphs[0].text == "THE HEADER"


def bomb() -> bytes:
    """A document whose XML is a hundred megabytes of nothing."""
    out = io.BytesIO(word(lambda document: document.add_paragraph("x")))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/x.xml", b" " * 100_000_000)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.docx", b"PK\x03\x04 nothing", BadFormat),
        ("a.docx", b"plain text", BadFormat),
        ("a.txt", b"\0\1\2" * 100, BadFormat),
        ("a.pdf", b"%PDF-1.7", BadFormat),
        ("a.txt", b"a" * 1_000_001, TooLarge),
    ],
)
def test_what_cannot_be_translated_is_refused(name: str, data: bytes, kind: type[Exception]):
    with pytest.raises(kind):
        open_file(data, name)


def test_a_bomb_is_not_opened():
    with pytest.raises(TooLarge, match="beyond measure"):
        open_file(bomb(), "a.docx")


def test_old_encodings_and_names():
    assert (
        translated("a.txt", "Привет, мир. Как дела?".encode("cp1251"))
        .decode("cp1251")
        .startswith("ПРИВЕТ")
    )
    assert translated("a.txt", "Déjà vu.".encode("utf-16")).decode("utf-16") == "DÉJÀ VU."
    assert translated("a.txt", "Déjà".encode("cp1252")) == "DÉJÀ".encode("cp1252")
    assert open_file(b"x", "dir/../my letter.txt").named("fr") == "my letter.fr.txt"
    opened = open_file(SRT.encode(), "a.srt")
    assert (
        opened.put("ALONE").decode().count("-->") == 2
    )  # a model that loses parts loses nothing else
