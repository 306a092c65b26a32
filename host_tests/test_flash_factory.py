"""Factory and labels: a batch of boards gets identities, labels that phones read, and records."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import zxingcpp
from flash_bench import Bench, run
from PIL import Image as Picture
from test_flash_tool import certificate

from device import panel
from shipping.identity import DEFAULTS, PIN_ALPHABET, development_serial, fault, new_pin
from shipping.label import LED, LED_MM, save, wifi_text
from sim.image import Image

ROOT = Path(__file__).resolve().parent.parent
FACTORY = [sys.executable, str(ROOT / "tools" / "factory.py")]


@pytest.mark.parametrize("pin", ["K7M3XQ9A", 'a;b,c:"\\', "!~#$%&'("])
def test_a_phones_camera_reads_name_and_key_from_the_label(tmp_path: Path, pin: str) -> None:
    identity = DEFAULTS | {"serial": "AG100042317G", "pin": pin}
    assert fault(identity) is None
    _, back, pdf = save(identity, tmp_path)
    (code,) = zxingcpp.read_barcodes(Picture.open(back))
    assert code.text == wifi_text("Amp Guard_42317", pin)
    fields = re.findall(r"([TSP]):((?:\\.|[^;\\])*);", code.text)
    read = {name: re.sub(r"\\(.)", r"\1", value) for name, value in fields}
    assert read == {"T": "WPA", "S": "Amp Guard_42317", "P": pin}
    assert pdf.read_bytes().startswith(b"%PDF")


def test_the_label_draws_what_the_led_does(tmp_path: Path) -> None:
    identity = DEFAULTS | {"serial": "AG100042317G", "pin": "K7M3XQ9A"}
    picture = Picture.open(save(identity, tmp_path)[0])
    dots = 600 / 25.4
    left, top, slot, row = LED_MM
    assert LED == ("online", "joining", "fault", "measuring")
    for number, name in enumerate(LED):
        y = round((top + number * row + 0.5) * dots)
        drawn = [picture.getpixel((round((left + (n + 0.5) * slot) * dots), y)) for n in range(20)]
        lit = sum((dot == 0) << n for n, dot in enumerate(drawn))
        assert lit == getattr(panel, name.upper())


def test_pins_are_hard_to_guess_and_easy_to_read() -> None:
    pins = {new_pin() for _ in range(1000)}
    assert len(pins) == 1000
    assert set("".join(pins)) == set(PIN_ALPHABET)
    assert not set(PIN_ALPHABET) & set("O0I1lS5B8Z2")
    assert fault(DEFAULTS | {"serial": development_serial(b"\xff" * 6), "pin": pins.pop()}) is None


def test_a_batch_is_made_labelled_and_recorded_and_a_repeat_makes_nothing_twice(
    image: Image, tmp_path: Path
) -> None:
    (tmp_path / "batch.csv").write_text(
        "serial,variant,phases\nAG100000001G,home,3\nAG100000002G,public,1\n"
    )
    ca = tmp_path / "ca.der"
    ca.write_bytes(certificate())

    def out(kind: str, number: int) -> dict[str, object]:
        path = tmp_path / "out" / kind / f"AG10000000{number}G.json"
        found: dict[str, object] = json.loads(path.read_text())
        return found

    async def main() -> None:
        folders = [tmp_path / name for name in "ab"]
        for folder in folders:
            folder.mkdir()
        async with Bench(image, folders[0]) as one, Bench(image, folders[1]) as two:
            options = [str(tmp_path / "batch.csv"), "--out", str(tmp_path / "out"), "--by", "Kim"]
            code, said = await run(*FACTORY, *options, "--labels")
            assert code == 0, said
            pins = [out("identities", number)["pin"] for number in (1, 2)]
            ports = [word for on in (one, two) for word in ("--port", str(on.port))]
            code, said = await run(*FACTORY, *options, *ports, "--ca", str(ca))
            assert code == 0, said
            for number, on in ((1, one), (2, two)):
                assert (on.files / "ca.der").read_bytes() == ca.read_bytes()
                assert out("records", number)["by"] == "Kim"
                factory = json.loads((on.files / "factory.json").read_text())
                assert factory["pin"] == pins[number - 1]
                assert factory["pin"] not in said
                assert (tmp_path / "out" / "labels" / f"AG10000000{number}G.pdf").exists()
            code, said = await run(*FACTORY, *options, *ports)
            assert (code, said) == (0, "2 devices, 0 to be made\n")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("serial,variant\n", "no devices"),
        ("serial,variant\nAG1,home\n", "batch.csv:2: serial is 'AG1'"),
        ("serial,variant\nAG100000001G,office\n", "batch.csv:2: variant is 'office'"),
        ("serial,variant\n" + 2 * "AG100000001G,home\n", "batch.csv:3: serial AG100000001G is"),
        ("serial,variant,phases\nAG100000001G,home,two\n", "batch.csv:2: phases is 'two'"),
        ("serial,variant,calibration\nAG100000001G,home,no.json\n", "2: no.json: No such file"),
        ("serial,variant,calibration\nAG100000001G,home,batch.csv\n", "2: batch.csv: no JSON"),
        ("serial,kind\nAG100000001G,home\n", "batch.csv:1: the columns are serial, kind; exp"),
        ("serial,variant,pin\nAG100000001G,home,K7M3XQ9A\n", "expected serial and variant, and"),
        ("AG100000001G,home\n", "batch.csv:1: the columns are AG100000001G, home"),
        ("serial,variant\nAG100000001G,hem\udce5\n", "this is no text in UTF-8"),
    ],
)
def test_a_faulty_batch_is_refused_before_anything_is_made(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "batch.csv").write_text(text, errors="surrogateescape")
    command = [*FACTORY, str(tmp_path / "batch.csv"), "--out", str(tmp_path / "out"), "--labels"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_a_spreadsheet_makes_of_a_batch_is_read(tmp_path: Path) -> None:
    text = "\ufeffserial; variant ;phases\r\nAG100000001G;home;1\r\n;;\r\n"
    (tmp_path / "batch.csv").write_text(text, encoding="utf-8", newline="")
    command = [*FACTORY, str(tmp_path / "batch.csv"), "--out", str(tmp_path / "out"), "--labels"]
    options = ["--provider", "mqtt.example.com", "--tls"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 labels in" in done.stdout
    made = json.loads((tmp_path / "out" / "identities" / "AG100000001G.json").read_text())
    assert made["phases"] == 1
    assert made["provider"] == {"host": "mqtt.example.com", "port": 8883, "tls": True}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tls",), "--tls: expected --provider"),
        (("--provider", "a:b"), "expected HOST or HOST:PORT"),
        (("--ca", __file__), "expected one certificate, PEM or DER"),
        (("--out", "/proc/none"), "--out /proc/none: can't write there"),
    ],
)
def test_a_factory_that_can_not_go_on_says_why_in_one_line(
    tmp_path: Path, options: tuple[str, str], words: str
) -> None:
    (tmp_path / "batch.csv").write_text("serial,variant\nAG100000001G,home\n")
    command = [*FACTORY, str(tmp_path / "batch.csv"), "--labels", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_label_that_can_not_be_written_and_a_report_nobody_asks_for_end_in_words() -> None:
    label = [sys.executable, str(ROOT / "tools" / "label.py"), "--serial", "AG100042317G"]
    command = [*label, "--pin", "K7M3XQ9A", "--out", "/proc/none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "label: --out /proc/none: can't write there" in done.stderr
    explain = [sys.executable, str(ROOT / "tools" / "explain.py"), "--help"]
    done = subprocess.run(explain, capture_output=True, text=True, check=False, stdin=-3)
    assert done.returncode == 0
    assert "usage: explain" in done.stdout
