"""Draws the sample documents and pictures of `assets/samples`: `python -m starter.samples`.

People, places and things in them are made up. Needs the DejaVu fonts; the app never imports it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from starter.sample_pictures import draw_balls, draw_house, draw_shapes, draw_sign

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "samples"
FONTS = Path("/usr/share/fonts/truetype/dejavu")
DPI = 120
PAGE = (round(8.27 * DPI), round(11.69 * DPI))  # A4
INK, PAPER = (28, 30, 34), (255, 255, 255)
THUMB = (220, 220)

NOTE = (
    ("Front brake, new pads", "2", "9.50", "19.00"),
    ("Chain, 116 links", "1", "24.90", "24.90"),
    ("Rear tyre 622-40", "1", "31.00", "31.00"),
    ("Adjusting the gears", "1", "18.00", "18.00"),
    ("Cleaning and oil", "1", "12.00", "12.00"),
)
LETTER = (
    "Chère Madeleine,",
    (
        "Merci pour ta lettre, arrivée jeudi avec la pluie. Ici, le jardin a trop bu : les tomates "
        "dorment encore, mais les fèves montent déjà jusqu’à la fenêtre de la cuisine."
    ),
    (
        "Samedi, nous avons réparé la vieille barque. Lucien a percé trois trous avant d’en boucher "
        "un seul, et le chien s’est couché dans le pot de peinture bleue. Tu imagines la suite : des "
        "empreintes jusqu’au grenier, et un canapé qui ne sera plus jamais beige."
    ),
    (
        "Viens donc à la fin du mois, si les trains le veulent bien. La chambre du haut est prête, on "
        "y entend la rivière quand le vent se tait. Apporte tes bottes et le livre que tu m’as promis ; "
        "je m’occupe du reste."
    ),
    "Je t’embrasse bien fort,",
    "Hélène",
)
COLUMNS = (
    (
        "Quem tem uma varanda tem quase uma horta. Bastam três vasos fundos, terra leve e meia "
        "dúzia de horas de sol para começar com alfaces, salsa e rabanetes."
    ),
    (
        "A terra deve escoar bem. Misture duas partes de composto com uma de areia grossa e ponha no "
        "fundo uma camada de cacos: as raízes não gostam de ter os pés molhados."
    ),
    (
        "Regue de manhã cedo, pouco e muitas vezes. No verão, uma camada de palha guarda a água e "
        "poupa trabalho; no outono, a mesma palha já é quase terra."
    ),
    (
        "As alfaces colhem-se folha a folha, de fora para dentro, e voltam a crescer durante semanas. "
        "Os rabanetes ficam prontos em trinta dias: é a melhor lição de paciência para crianças."
    ),
    (
        "Se aparecerem pulgões, não corra para a loja. Um borrifador com água e um pouco de sabão "
        "chega quase sempre, e as joaninhas tratam do resto."
    ),
    (
        "No fim da estação, deixe uma planta florir. Dá sementes para o ano seguinte e alegra as "
        "abelhas que passam pelo sexto andar sem saber porquê."
    ),
)
SCAN = (
    "Как устроен старый маяк",
    (
        "Маяк на мысе построили из серого камня сто сорок лет назад. В нём пять этажей: на первом "
        "хранили уголь и масло, на втором жил смотритель с семьёй, выше стояли часы с тяжёлой гирей."
    ),
    (
        "Каждые шесть часов гирю поднимали наверх, и она медленно вращала линзу. Свет был виден за "
        "двадцать две мили, а в туман звонил колокол: один удар каждые тридцать секунд."
    ),
    (
        "Сегодня лампу зажигает автомат, но лестница из 187 ступеней осталась прежней. По субботам "
        "наверх пускают гостей, и в ясный день оттуда видны оба берега залива."
    ),
)
TALE = (
    "The lamp that would not sleep",
    (
        "In a village under a hill there was a street lamp that refused to go out. When the sun came "
        "up it went on shining, a small yellow dot in the blue."
    ),
    (
        "The mayor sent an engineer, who changed the bulb. The baker, who rose first, asked it kindly. "
        "The children threw a blanket over it. The lamp shone through the wool, soft as honey."
    ),
    (
        "At last an old woman sat down beneath it and read to it, one page every evening. On the last "
        "page of the third book the lamp blinked, and was dark. It had only wanted to know the end."
    ),
)


def font(size: float, name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """A font of so many points on a sample page."""
    return ImageFont.truetype(str(FONTS / f"{name}.ttf"), round(size * DPI / 72))


def page() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", PAGE, PAPER)
    return picture, ImageDraw.Draw(picture)


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines that are not wider than `width` pixels."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write(
    draw: ImageDraw.ImageDraw, text: str, face: ImageFont.FreeTypeFont, box: Sequence[float]
) -> float:
    """Write a paragraph into x, y, width; returns the height below it."""
    x, y, width = box
    for line in wrap(text, face, width):
        draw.text((x, y), line, font=face, fill=INK)
        y += face.size * 1.42
    return y


def draw_note() -> Image.Image:
    """A workshop's bill: a table with sums, in English."""
    picture, draw = page()
    plain, bold, big = font(10.5), font(10.5, "DejaVuSans-Bold"), font(20, "DejaVuSans-Bold")
    left, right = 96, PAGE[0] - 96
    draw.text((left, 96), "Bicycle repair", font=big, fill=INK)
    draw.text((left, 156), "Bill no. 0427 · 14 March 2031", font=plain, fill=INK)
    draw.text((left, 184), "For: Ada Fenwick, 3 Mill Lane", font=plain, fill=INK)
    y = 270.0
    ends = (left, right - 300, right - 150, right)
    for place, word in zip(ends, ("Work", "Pieces", "Each", "Sum"), strict=True):
        draw.text((place, y), word, font=bold, fill=INK, anchor="la" if place == left else "ra")
    draw.line((left, y + 30, right, y + 30), fill=INK, width=2)
    for row in NOTE:
        y += 44
        for place, cell in zip(ends, row, strict=True):
            draw.text(
                (place, y), cell, font=plain, fill=INK, anchor="la" if place == left else "ra"
            )
    draw.line((left, y + 40, right, y + 40), fill=INK, width=2)
    draw.text((left, y + 56), "Total", font=bold, fill=INK)
    draw.text((right, y + 56), "104.90", font=bold, fill=INK, anchor="ra")
    write(
        draw,
        "The left pedal is worn and will last another summer at most. Please check the air in the "
        "tyres once a month: 4.5 bar in front, 5 bar behind.",
        plain,
        (left, y + 150, right - left),
    )
    draw.text(
        (left, y + 290), "Thank you, and good roads!", font=font(12, "DejaVuSerif-Italic"), fill=INK
    )
    return picture.crop((0, 0, PAGE[0], 1080))


def draw_letter() -> Image.Image:
    """A letter in French, in a serif type."""
    picture, draw = page()
    face = font(12, "DejaVuSerif")
    draw.text((PAGE[0] - 110, 110), "Bord-de-l’Eau, le 9 mai", font=face, fill=INK, anchor="ra")
    y = 210.0
    for paragraph in LETTER:
        y = write(draw, paragraph, face, (110, y, PAGE[0] - 220)) + 22
    return picture.crop((0, 0, PAGE[0], 940))


def draw_columns() -> Image.Image:
    """A page of a magazine in two columns, in Portuguese."""
    picture, draw = page()
    draw.text((90, 90), "A horta na varanda", font=font(24, "DejaVuSerif-Bold"), fill=INK)
    draw.text(
        (90, 152),
        "Pequeno guia para começar sem jardim",
        font=font(12, "DejaVuSerif-Italic"),
        fill=INK,
    )
    face, width = font(11, "DejaVuSerif"), (PAGE[0] - 180 - 50) / 2
    for column in (0, 1):
        y = 230.0
        for paragraph in COLUMNS[3 * column : 3 * column + 3]:
            y = write(draw, paragraph, face, (90 + column * (width + 50), y, width)) + 16
    return picture.crop((0, 0, PAGE[0], 800))


def draw_scan() -> Image.Image:
    """A page in Russian as a telephone sees it: tilted, unevenly lit, noisy, a little blurred."""
    picture, draw = page()
    draw.text((110, 130), SCAN[0], font=font(19, "DejaVuSerif-Bold"), fill=INK)
    y = 220.0
    for paragraph in SCAN[1:]:
        y = write(draw, paragraph, font(13, "DejaVuSerif"), (110, y, PAGE[0] - 220)) + 18
    picture = picture.crop((0, 0, PAGE[0], 1000))
    turned = picture.rotate(2.2, Image.Resampling.BICUBIC, expand=True, fillcolor=(96, 82, 66))
    values = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float32)
    height, width = values.shape[:2]
    light = (
        np.linspace(1.0, 0.74, width)[None, :, None]
        * np.linspace(0.98, 0.86, height)[:, None, None]
    )
    noise = np.random.default_rng(7).normal(0, 7, (height, width, 1))
    warm = np.array([1.0, 0.97, 0.9])
    return Image.fromarray(np.clip(values * light * warm + noise, 0, 255).astype(np.uint8))


def draw_tale() -> Image.Image:
    """The last page of the booklet, as a scanner leaves it: grey and tilted."""
    picture, draw = page()
    draw.text((110, 120), "Notes for the evening", font=font(17, "DejaVuSans-Bold"), fill=INK)
    rows = ("1. Read slowly; the lamp listens.", "2. Stop at the end of a page, never before.",
            "3. Bring a cushion and something warm.", "4. The third book is the short one.")  # fmt: skip
    for n, row in enumerate(rows):
        draw.text((110, 220 + 56 * n), row, font=font(13), fill=(60, 60, 64))
    return picture.rotate(-1.2, Image.Resampling.BICUBIC, fillcolor=(250, 250, 248)).convert("L")


def make_booklet() -> bytes:
    """A PDF of three pages: two with text of their own, one that is only a picture."""
    wide = font(13 * 72 / DPI, "DejaVuSerif")  # a little wider than Times: lines stay on the page
    parts = []  # each page's contents
    for first, last in ((0, 2), (2, 4)):
        rows: list[tuple[int, str]] = []
        for paragraph in TALE[first:last]:
            size = 22 if paragraph == TALE[0] else 13
            rows += [(size, line) for line in wrap(paragraph, wide, 420)] + [(13, "")]
        text = "\n".join(f"/F {size} Tf ({line}) Tj T*" for size, line in rows)
        parts.append(f"BT 24 TL 72 740 Td {text} ET".encode("cp1252"))
    parts.append(b"q 595 0 0 842 0 0 cm /I Do Q")
    scan = draw_tale()
    kids = " ".join(f"{5 + 2 * n} 0 R" for n in range(len(parts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(parts)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman /Encoding /WinAnsiEncoding >>",
        stream(
            encode(scan, "JPEG", quality=60),
            f"/Type /XObject /Subtype /Image /Width {scan.width} /Height {scan.height} "
            "/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /DCTDecode ",
        ),
    ]
    for n, contents in enumerate(parts):
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F 3 0 R >> "
            f"/XObject << /I 4 0 R >> >> /Contents {6 + 2 * n} 0 R >>".encode()
        )
        objects.append(stream(contents))
    return file_of(objects)


def stream(data: bytes, about: str = "") -> bytes:
    return f"<< {about}/Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def file_of(objects: Sequence[bytes]) -> bytes:
    """A PDF file of these objects, numbered from 1; the first is its catalog."""
    out, places = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start, count = len(out), len(objects) + 1
    out += f"xref\n0 {count}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    out += f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def encode(picture: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def flat_png(picture: Image.Image, colours: int) -> bytes:
    """A PNG of a few colours, as small as it gets."""
    return encode(picture.quantize(colours, dither=Image.Dither.NONE), "PNG", optimize=True)


def main() -> None:
    """Write all samples and their thumbnails."""
    booklet = make_booklet()
    drawn = {
        "note-en.png": draw_note(), "letter-fr.png": draw_letter(), "columns-pt.png": draw_columns(),
        "scan-ru.jpg": draw_scan(), "booklet-en.pdf": draw_cover(), "shapes.png": draw_shapes(),
        "balls.png": draw_balls(), "sign.png": draw_sign(), "house.png": draw_house(),
    }  # fmt: skip
    (FOLDER / "thumbs").mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        stem, _, kind = name.partition(".")
        if kind == "png":
            (FOLDER / name).write_bytes(flat_png(picture, 48))
        elif kind == "jpg":
            (FOLDER / name).write_bytes(encode(picture, "JPEG", quality=62))
        else:
            (FOLDER / name).write_bytes(booklet)
        small = picture.convert("RGB").crop((0, 0, picture.width, round(picture.width * 0.75)))
        small.thumbnail(THUMB)
        (FOLDER / "thumbs" / f"{stem}.webp").write_bytes(encode(small, "WEBP", quality=70))
    for file in sorted(FOLDER.rglob("*.*")):
        print(f"{file.stat().st_size:>8}  {file.relative_to(FOLDER)}")


def draw_cover() -> Image.Image:
    """The booklet's first page, for its thumbnail."""
    picture, draw = page()
    draw.text((120, 130), TALE[0], font=font(19, "DejaVuSerif-Bold"), fill=INK)
    write(draw, " ".join(TALE[1:]), font(13, "DejaVuSerif"), (120, 230, PAGE[0] - 240))
    return picture


if __name__ == "__main__":
    main()
