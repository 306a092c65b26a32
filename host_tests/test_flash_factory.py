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

from shipping.identity import DEFAULTS, PIN_ALPHABET, development_serial, fault, new_pin
from shipping.label import save, wifi_text
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
            code, said = await run(*FACTORY, *options, *ports)
            assert code == 0, said
            for number, on in ((1, one), (2, two)):
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
        ("serial,variant,phases\nAG100000001G,home,two\n", "batch.csv:2: invalid literal"),
    ],
)
def test_a_faulty_batch_is_refused_before_anything_is_made(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "batch.csv").write_text(text)
    command = [*FACTORY, str(tmp_path / "batch.csv"), "--out", str(tmp_path / "out"), "--labels"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
