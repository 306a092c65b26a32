"""tools/bundle.py as a person calls it, and its bundles pushed onto a board over its port."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from flash_bench import Bench, run
from update_bench import firmware, key

from shipping import bundle as bundles
from shipping.board import About, Board, OnBoard, Refused
from shipping.flashing import Plan
from shipping.image import file_system
from sim.image import Image

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = [sys.executable, str(ROOT / "tools" / "bundle.py")]


def tool(*words: object) -> tuple[int, str]:
    done = subprocess.run(
        [*BUNDLE, *map(str, words)], capture_output=True, text=True, check=False, stdin=-3
    )
    assert done.returncode == 0 or len(done.stderr.splitlines()) == 1, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_key_signs_a_bundle_that_it_verifies_and_no_other_does(tmp_path: Path) -> None:
    code, said = tool("keygen", tmp_path / "mine")
    assert code == 0, said
    assert (tmp_path / "mine.pem").stat().st_mode & 0o777 == 0o600
    made = tmp_path / "made.bundle"
    code, said = tool("build", "--key", tmp_path / "mine.pem", "-o", made)
    assert code == 0, said
    code, said = tool("show", made)
    assert (code, "xtensawin" in said, "main.mpy" in said) == (0, True, True), said
    code, said = tool("verify", made, "--key", tmp_path / "mine.key")
    assert (code, "signed with this key" in said) == (0, True), said
    (tmp_path / "other.key").write_bytes(bundles.public(key(0)))
    code, said = tool("verify", made, "--key", tmp_path / "other.key")
    assert (code, "it is not signed with the key" in said) == (2, True), said
    (tmp_path / "cut").write_bytes(made.read_bytes()[:-1])
    code, said = tool("verify", tmp_path / "cut", "--key", tmp_path / "mine.key")
    assert (code, "it is cut short in main.mpy" in said) == (2, True), said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keygen", ROOT / "mine"), "a private key has no place in the repository"),
        (("keygen", "/"), "/: expected a name for the two files"),
        (("keygen", "/nowhere/.."), "/nowhere/..: expected a name for the two files"),
        (("build", "--key", "/nowhere.pem"), "/nowhere.pem: No such file"),
        (("build", "--key", __file__), "no private key in PEM"),
        (("show", __file__), "this is no bundle of the Amp Guard"),
        (("show", "/nowhere"), "/nowhere: No such file"),
        (("verify", __file__), "the following arguments are required: --key"),
        (("sell",), "invalid choice: 'sell'"),
        (("push", __file__), "this is no bundle"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(words: tuple[str, ...], said: str) -> None:
    code, found = tool(*words)
    assert (code, said in found) == (2, True), found


def test_a_bundle_asks_for_the_boot_py_of_its_time() -> None:
    boot = (ROOT / "firmware" / "boot.py").read_text()
    root = next(line for line in boot.splitlines() if line.startswith("root = ")).split()[2]
    said = bundles.Contents.of({"main.mpy": b""}, "0.2.0", "xtensawin").text()
    assert f"\nroot {root}\n".encode() in said


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.key").write_bytes(b"on a thousand boards")
    code, said = tool("keygen", tmp_path / "mine")
    assert (code, "is there already" in said) == (2, True), said
    assert not (tmp_path / "mine.pem").exists()


def test_a_bundle_is_pushed_onto_a_board_whose_key_it_fits(image: Image, tmp_path: Path) -> None:
    made = {
        version: firmware(version, image.vm.architecture, tmp_path)
        for version in ("9.1.0", "0.0.1")
    }
    for version, data in made.items():
        (tmp_path / f"{version}.bundle").write_bytes(data)
    (tmp_path / "mine.key").write_bytes(bundles.public(key(0)))

    async def main() -> None:
        async with Bench(image, tmp_path, firmware=True) as on:

            async def push(version: str, *options: str) -> tuple[int, str]:
                file = str(tmp_path / f"{version}.bundle")
                return await run(*BUNDLE, "push", file, "--port", str(on.port), *options)

            identity = ("--serial", "AG100042317G", "--pin", "K7M3XQ9A")
            code, said = await on.flash(*identity, "--update-key", str(tmp_path / "mine.key"))
            assert code == 0, said
            settings = (on.files / "factory.json").read_bytes()

            code, said = await push("0.0.1")
            assert (code, "0.0.1 is older than 0.1.0" in said) == (2, True), said
            code, said = await push("9.1.0")
            assert (code, "9.1.0 runs, on trial" in said) == (0, True), said
            assert json.loads((on.files / "slot").read_bytes()[9:])["run"] == "b"
            assert (on.files / "factory.json").read_bytes() == settings

            # The flash tool brings the repository's firmware back, whatever slot runs.
            code, said = await on.flash()
            assert (code, "ready: firmware 0.1.0" in said) == (0, True), said
            assert json.loads((on.files / "slot").read_bytes()[9:]) == {"run": "a"}
            assert (on.files / "update.key").read_bytes() == bundles.public(key(0))

    asyncio.run(main())


def test_a_board_keeps_its_key_unless_told_otherwise() -> None:
    class There:
        port = "here"
        about = About("ESP32", "1.29.0", "xtensawin", b"123456", 1 << 20)

        def files(self) -> dict[str, OnBoard]:
            return {bundles.KEY: OnBoard(3, "0" * 64)}

    board = cast("Board", There())
    with pytest.raises(Refused, match="another update key already"):
        Plan.of(board, {}, key=bundles.public(key(0)))
    assert bundles.KEY in Plan.of(board, {}, True, key=bundles.public(key(0))).changed
    assert bundles.KEY not in Plan.of(board, {}, erase=True).erased


def test_the_one_file_image_may_hold_the_key() -> None:
    files = {"a/main.mpy": b"M", bundles.KEY: bundles.public(key(0))}
    assert bundles.public(key(0)) in file_system(files, 1 << 20)
