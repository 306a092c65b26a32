"""tools/flash.py on the simulated board, over its serial port, as a person uses it."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from flash_bench import Bench, flash, start_flash

from device.boots import BootRecord
from device.settings import Settings
from shipping.board import About, Board, Failed, OnBoard, _unopened
from shipping.firmware import pieces
from shipping.flashing import Plan
from sim.image import Image

IDENTITY = ("--serial", "AG100042317G", "--pin", "K7M3XQ9A", "--variant", "public")
SETTINGS = "what the owner chose"


def test_a_bare_board_runs_after_one_command_and_a_second_copies_nothing(
    image: Image, tmp_path: Path
) -> None:
    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            code, said = await on.flash("--dry-run", *IDENTITY)
            assert code == 0, said
            assert not list(on.files.iterdir())
            code, said = await on.flash(*IDENTITY)
            assert code == 0, said
            assert f"{len(list(pieces())) + 2} files copied, identity written, verified" in said
            assert "Amp Guard_42317" in said
            assert "K7M3XQ9A" in said
            await on.device.until("ap")
            before = {path: path.stat().st_mtime_ns for path in on.files.rglob("*.*py")}
            # Three crashes lead to safe mode, which ends with what is flashed.
            boots = BootRecord(str(on.files / "boot"), str(on.files / "crash.txt"))
            for _ in range(3):
                boots.crashed(MemoryError("once"), 5)
            assert boots.looping
            code, said = await on.flash()
            assert code == 0, said
            assert "nothing copied" in said
            assert {path: path.stat().st_mtime_ns for path in before} == before
            factory = json.loads((on.files / "factory.json").read_text())
            assert factory["variant"] == "public"

    asyncio.run(main())


def test_what_would_run_in_place_of_the_firmware_goes_and_nothing_else(
    image: Image, tmp_path: Path
) -> None:
    intruders = ["slots.py", "a/cloud/old.mpy", "a/metering/meter.py", "a/version/part.py"]

    async def main() -> None:
        files = dict.fromkeys(intruders, "") | {
            "settings": SETTINGS,
            "mine.py": "",
            "lib/x.py": "",
            "a/lib/y.py": "",
        }
        async with Bench(image, tmp_path, firmware=True, files=files) as on:
            code, said = await on.flash("--check", *IDENTITY)
            assert code == 1, said
            assert all(f"remove  {name}" in said for name in intruders)
            code, said = await on.flash(*IDENTITY)
            assert code == 0, said
            assert not any((on.files / name).exists() for name in [*intruders, "a/version"])
            # The firmware ran: its 15 s were stretched, and are in force again.
            timeouts = [event["timeout"] for event in on.events("wdt")]
            assert timeouts[-2:] == [600_000, 15_000]
            assert (on.files / "mine.py").exists()
            assert (on.files / "lib" / "x.py").exists()
            assert (on.files / "a" / "lib" / "y.py").exists()
            assert (on.files / "settings").read_text() == SETTINGS
            async with on.over_tcp() as port:
                code, said = await flash(port, "--check")
                assert (code, f"{port}: ESP32" in said) == (0, True), said

    asyncio.run(main())


def test_an_identity_is_written_once_and_again_only_when_told(
    image: Image, tmp_path: Path
) -> None:
    async def main() -> None:
        async with Bench(image, tmp_path, firmware=True) as on:
            code, said = await on.flash(*IDENTITY)
            assert code == 0, said
            for others in (("--serial", "AG100000001G"), ("--pin", "A2345678")):
                code, said = await on.flash(*others)
                assert code == 2
                assert "is AG100042317G already" in said
                assert "A2345678" not in said
            code, said = await on.flash("--factory-overwrite", "--phases", "1")
            assert (code, "0 files copied, identity written, verified" in said) == (0, True), said
            factory = json.loads((on.files / "factory.json").read_text())
            assert (factory["serial"], factory["pin"]) == ("AG100042317G", "K7M3XQ9A")
            assert (factory["variant"], factory["phases"]) == ("public", 1)
            (on.files / "settings").write_text(SETTINGS)
            code, said = await on.flash("--erase")
            assert code == 0, said
            assert not (on.files / "settings").exists()
            assert json.loads((on.files / "factory.json").read_text()) == factory

    asyncio.run(main())


def test_the_brokers_certificate_is_brought_along_and_stays(image: Image, tmp_path: Path) -> None:
    der = certificate()
    pem = tmp_path / "ca.pem"
    pem.write_text("# our root\n" + ssl.DER_cert_to_PEM_cert(der))

    async def main() -> None:
        async with Bench(image, tmp_path, firmware=True) as on:
            code, said = await on.flash(*IDENTITY, "--ca", str(pem))
            assert code == 0, said
            assert (on.files / "ca.der").read_bytes() == der
            (tmp_path / "other.der").write_bytes(certificate())
            code, said = await on.flash("--ca", str(tmp_path / "other.der"))
            assert code == 2
            assert "another CA certificate already" in said
            code, said = await on.flash("--erase", "--check")
            assert "ca.der" not in said, said

    asyncio.run(main())


def certificate() -> bytes:
    """A provider's root, as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A provider's CA")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=9))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_file_that_arrives_otherwise_than_it_left_is_noticed() -> None:
    class Worn:
        port = "here"
        about = About("ESP32", "1.29.0", "xtensawin", b"123456", 1 << 20)

        def files(self) -> dict[str, OnBoard]:
            return {"a/board.mpy": OnBoard(3, "0" * 64)}

        def nothing(self, *_: object) -> None: ...

        write = make_folder = remove = nothing

    board = cast("Board", Worn())
    plan = Plan.of(board, {})
    with pytest.raises(Failed, match=r"a/board\.mpy .*did not arrive intact"):
        plan.carry_out(board, lambda path, size: None)


def test_a_run_that_breaks_off_is_repeated_and_ends_well(image: Image, tmp_path: Path) -> None:
    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            on.device.board["cut_at_write"] = 60  # after the soft reset the tool begins with
            code, said = await on.flash(*IDENTITY)
            assert code == 1
            assert "repeat" in said
            assert not (on.files / "main.py").exists()  # it waits in the REPL
            copied = [path for path in on.files.rglob("*.mpy") if path.is_file()]
            assert 5 < len(copied) < 45
            await on.device.cut()
            await on.device.start()
            await on.device.until("boot", since=len(on.device.events) - 1)
            code, said = await on.flash()
            assert code == 0, said
            assert not list(on.files.rglob("*.new"))
            assert "AG100042317G" in said

    asyncio.run(main())


def test_a_tool_that_is_stopped_in_the_midst_leaves_a_board_that_the_next_run_completes(
    image: Image, tmp_path: Path
) -> None:
    async def main() -> None:
        async with Bench(image, tmp_path) as on:
            for folder, number in (("a/cloud", signal.SIGINT), ("a/device", signal.SIGKILL)):
                process = await start_flash(on.port, *IDENTITY)
                while not any((on.files / folder).glob("*.mpy")):
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
                process.send_signal(number)
                await process.wait()
                assert process.returncode == (130 if number == signal.SIGINT else -number)
                assert not (on.files / "main.py").exists()
            code, said = await on.flash()
            assert code == 0, said
            assert not list(on.files.rglob("*.new"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("board", "options", "words"),
    [
        ({"chip": "esp32c6"}, (), "ESP32C6; the firmware runs on ESP32, ESP32S3, ESP32C3"),
        ({"image": "1.22.2"}, (), "MicroPython 1.22.2 is too old, expected 1.23 to 1.29"),
        ({"flash_size": 120_000}, (), "no space: the firmware needs"),
        ({}, ("--serial", "box 5"), "serial is 'box 5', expected"),
        ({}, ("--provider", "a b"), "provider host is 'a b'"),
    ],
)
def test_a_board_that_is_not_fit_is_left_as_it_is_and_told_why(
    image: Image, tmp_path: Path, board: dict[str, object], options: tuple[str, ...], words: str
) -> None:
    async def main() -> None:
        async with Bench(image, tmp_path, files={"main.py": "print('mine')\n"}, **board) as on:
            code, said = await on.flash(*options)
            assert code == 2
            assert words in said
            assert len(said.splitlines()) <= 2  # what the board is, and the fault
            assert [path.name for path in on.files.iterdir()] == ["main.py"]
            await on.device.until(lambda e: e["ev"] == "reset" and e["cause"] == 2)  # runs again

    asyncio.run(main())


def test_a_port_that_gives_no_answer_is_told_from_one_that_is_busy_or_missing(
    tmp_path: Path,
) -> None:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    try:
        fcntl.flock(slave, fcntl.LOCK_EX)
        code, said = asyncio.run(flash(name))
        assert (code, f"{name}: busy, another program has it open" in said) == (2, True), said
        fcntl.flock(slave, fcntl.LOCK_UN)
        code, said = asyncio.run(flash(name))
        assert (code, f"{name}: no answer from a MicroPython" in said) == (2, True), said
    finally:
        os.close(master)
        os.close(slave)
    code, said = asyncio.run(flash(tmp_path / "ttyUSB0"))
    assert (code, "no such port; is the board plugged in?" in said) == (2, True), said


def test_who_may_not_open_a_port_is_told_the_group_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    port.chmod(0o660)
    monkeypatch.setattr(Path, "group", lambda self: "dialout")
    denied = PermissionError(13, "Permission denied")
    said = _unopened(str(port), denied)
    assert said == f"{port}: no permission; add yourself to the group dialout and log in again"
    # A group that helps nobody: root's, which nobody should join, or one that may not either.
    port.chmod(0o600)
    alone = f"{port}: no permission; it is for its owner alone: sudo chown $USER {port}"
    assert _unopened(str(port), denied) == alone
    port.chmod(0o660)
    monkeypatch.setattr(Path, "group", lambda self: "root")
    assert _unopened(str(port), denied) == alone
    gone = tmp_path / "gone"
    assert "add yourself to the group dialout" in _unopened(str(gone), denied)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--image", "/nowhere.bin"), "--image /nowhere.bin: No such file"),
        (("--image", __file__), "no image of MicroPython for the ESP32"),
        (("--calibration", __file__), "this is not JSON"),
        (("--variant", "office"), "invalid choice: 'office'"),
        (("--ca", __file__), "expected one certificate, PEM or DER"),
        (("--ca", "/nowhere.pem"), "--ca /nowhere.pem: No such file"),
        (("--tls",), "--tls: expected --provider"),
        (("--wifi", "x"), "--wifi: no password"),
        (("--provider", "a:b"), "expected HOST or HOST:PORT"),
    ],
)
def test_a_senseless_option_is_refused_in_one_line(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    code, said = asyncio.run(flash(tmp_path / "none", *options))
    assert code == 2
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("x" * 31, "expected 0 to 30 characters"),
        ("smultron-och-mjölk", "expected printable characters"),
        ("kort", "at least 8 characters"),
    ],
)
def test_a_password_that_the_page_refuses_is_refused_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, words: str
) -> None:
    monkeypatch.setenv("AMPGUARD_WIFI_PASSWORD", password)
    code, said = asyncio.run(flash(tmp_path / "none", "--wifi", "Hallonstigen 7"))
    assert code == 2
    assert words in said
    assert password not in said


def test_the_buildings_wifi_may_be_brought_along(
    image: Image, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("AMPGUARD_WIFI_PASSWORD", "smultron-och-mjolk")

    async def main() -> None:
        async with Bench(image, tmp_path, firmware=True) as on:
            code, said = await on.flash(*IDENTITY, "--wifi", "Hallonstigen 7")
            assert code == 0, said
            kept = Settings(str(on.files / "settings"))
            assert (kept.wifi_ssid, kept.wifi_password) == ("Hallonstigen 7", "smultron-och-mjolk")
            code, said = await on.flash("--wifi", "Grannens")
            assert (code, "already" in said) == (2, True)

    asyncio.run(main())
