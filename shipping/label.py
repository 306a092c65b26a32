"""A device's label: front with its serial and what LED and button say, back with the access
point's name, the PIN and a QR code that a phone's camera joins the Wi-Fi with. 50 x 25 mm, as PNG
at 600 dpi and as PDF.

The LED's patterns are drawn as the firmware has them (device/panel.py): two seconds from left to
right, black is lit.

The code's text is the one Android and iOS read ("WIFI:" of the ZXing project's barcode contents).
"""

from __future__ import annotations

import re
from pathlib import Path

import segno
from PIL import Image, ImageDraw, ImageFont

from shipping.firmware import FIRMWARE
from shipping.identity import Identity, ssid

WIDTH_MM, HEIGHT_MM = 50, 25
_DPI = 600
_QUIET = 4  # modules of white around a code, ISO/IEC 18004
_SPECIAL = '\\;,:"'
LED = ("online", "joining", "fault", "measuring")
SLOTS = 20  # of a tenth of a second
LED_MM = (31.5, 3.2, 0.3, 2.7)  # left, top, width of a slot, from one row to the next
_RANGE = {"home": "Home, 3 x 0-100 A", "public": "Public, 3 x 0-400 A"}


def wifi_text(name: str, key: str) -> str:
    """What the QR code says."""
    escaped = [
        "".join("\\" + letter if letter in _SPECIAL else letter for letter in words)
        for words in (name, key)
    ]
    return f"WIFI:T:WPA;S:{escaped[0]};P:{escaped[1]};;"


def save(identity: Identity, folder: Path) -> list[Path]:
    """Writes <serial>-front.png, <serial>-back.png and <serial>.pdf with both; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = {"front": front(identity), "back": back(identity)}
    paths = [folder / f"{identity['serial']}-{side}.png" for side in sides]
    for path, image in zip(paths, sides.values(), strict=True):
        image.save(path, dpi=(_DPI, _DPI))
    pdf = folder / f"{identity['serial']}.pdf"
    first, *rest = sides.values()
    first.save(pdf, save_all=True, append_images=rest, resolution=_DPI)
    return [*paths, pdf]


def front(identity: Identity) -> Image.Image:
    image, pen = _blank()
    _write(pen, 2.5, 2.5, 5.0, "Amp Guard")
    _write(pen, 2.5, 10.5, 2.6, _RANGE[identity["variant"]])
    _write(pen, 2.5, 16.5, 2.2, "Serial")
    _write(pen, 2.5, 19.0, 3.8, identity["serial"])
    left, top, slot, row = LED_MM
    for number, name in enumerate(LED):
        y = top + number * row
        for at in range(SLOTS):
            if patterns()[name] >> at & 1:
                x = left + at * slot
                pen.rectangle((_dots(x), _dots(y), _dots(x + slot) - 1, _dots(y + 1)), 0)
        _write(pen, left + SLOTS * slot + 1, y - 0.6, 2.0, name)
    _write(pen, left, top + 4 * row + 0.2, 1.6, "button: Wi-Fi for 10 min")
    _write(pen, left, top + 4 * row + 2.2, 1.6, "held 10 s: forgets Wi-Fi")
    return image


def patterns() -> dict[str, int]:
    """The firmware's, by name: a bit for each tenth of two seconds, the lowest first."""
    source = (FIRMWARE / "device" / "panel.py").read_text()
    found = re.findall(r"^([A-Z]+) = const\((0x[0-9A-F]+)\)$", source, re.MULTILINE)
    return {name.lower(): int(bits, 16) for name, bits in found}


def back(identity: Identity) -> Image.Image:
    image, pen = _blank()
    code = segno.make(wifi_text(ssid(identity), identity["pin"]), error="m", micro=False)
    modules = [list(row) for row in code.matrix]
    step = _dots(HEIGHT_MM) // (len(modules) + 2 * _QUIET)
    for y, row in enumerate(modules, _QUIET):
        for x, dark in enumerate(row, _QUIET):
            if dark:
                pen.rectangle((x * step, y * step, (x + 1) * step - 1, (y + 1) * step - 1), 0)
    for y_mm, size_mm, words in (
        (3.0, 2.2, "Wi-Fi"),
        (5.5, 2.9, ssid(identity)),
        (11.0, 2.2, "PIN"),
        (13.5, 4.6, identity["pin"]),
        (20.5, 2.0, "http://192.168.251.1"),
    ):
        _write(pen, 24.5, y_mm, size_mm, words)
    return image


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (_dots(WIDTH_MM), _dots(HEIGHT_MM)), 255)
    return image, ImageDraw.Draw(image)


def _write(pen: ImageDraw.ImageDraw, x_mm: float, y_mm: float, size_mm: float, words: str) -> None:
    """At most as large as fits in the width that is left."""
    room = _dots(WIDTH_MM - 1 - x_mm)
    sizes = range(_dots(size_mm), 0, -1)
    fonts = (ImageFont.load_default(size) for size in sizes)
    font = next(font for font in fonts if pen.textlength(words, font) <= room)
    pen.text((_dots(x_mm), _dots(y_mm)), words, 0, font)


def _dots(mm: float) -> int:
    return round(mm / 25.4 * _DPI)
