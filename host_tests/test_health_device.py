"""The whole device, hurt on purpose: it restarts, says why, and has lost no count. All faults,
with times: tools/benches/recovery.py, docs/health.md."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from binascii import crc32
from pathlib import Path

import pytest
from update_bench import firmware, key

from shipping.bundle import public
from shipping.identity import DEFAULTS
from sim.image import Image
from tools.benches.recovery import SEQ, Recovery, beside, counted

pytestmark = pytest.mark.whole_device


def page(device: Recovery, path: str, body: bytes | None = None) -> str:
    """An answer, once somebody listens: a moment after the access point opens."""
    request = urllib.request.Request(f"http://127.0.0.1:{device.options.portal}{path}", data=body)
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.URLError as fault:
            refused = isinstance(fault.reason, ConnectionRefusedError)
            if not refused or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def crashed(device: Recovery, crashes: list[int], safe: int = 0) -> None:
    """The device has crashed after so many seconds each, and safe mode has begun so often."""
    boots = {"boots": 7, "crashes": crashes, "safe": safe}
    body = json.dumps(boots).encode()
    (device.folder / "boot").write_bytes(b"%08x\n" % crc32(body) + body)


def damaged(device: Recovery, **fields: object) -> None:
    """Its identity, with something else in these fields."""
    identity = DEFAULTS | {"serial": "AG100042317G", "pin": "K7M3XQ9A"} | fields
    (device.folder / "factory.json").write_text(json.dumps(identity))


async def said(device: Recovery, words: str) -> None:
    await device.until(lambda: any(words in line for line in device.words), 60, words)


def test_what_hurts_it_is_survived_and_told_and_three_times_lead_to_safe_mode(
    tmp_path: Path,
) -> None:
    async def work(device: Recovery) -> None:
        hung = await device.suffer(("link", "hung"), 0, 10)
        assert hung.cause == "watchdog"
        assert "hung" in hung.told
        assert hung.boots == 9
        assert hung.seq >= SEQ
        await said(device, "safe mode")  # after the uplink's thread
        await said(device, "access point Amp Guard_42317 is open")
        point = await device.until(lambda: device.story.access_point, 30, "its access point")
        assert point.security == "WPA2"
        shown = await asyncio.to_thread(page, device, "/")
        assert "boot 9, after" in shown
        assert "RuntimeError: on purpose" in shown
        assert "It measures" in shown
        assert "crashed after" in await asyncio.to_thread(page, device, "/log")
        refused = await asyncio.to_thread(page, device, "/update", b"x" * 50_000)
        assert "Refused: this device has no key" in refused
        assert counted(device.folder) >= SEQ
        mark = device.heard[-1][0]
        assert "restarts" in await asyncio.to_thread(page, device, "/retry", b"")
        info = await device.until(lambda: device.since(mark, "info"), 60, "info")
        assert info[0][1]["reset_cause"] == "crash"
        events = await device.until(lambda: device.since(mark, "event"), 60, "event")
        assert "safe mode" in events[0][1]["words"]
        assert "RuntimeError: on purpose" in events[0][1]["words"]

    async def run() -> None:
        device = Recovery(tmp_path / "flash")
        crashed(device, [5])  # once before
        # The watchdog's 15 s are scaled to 1.5.
        hurts = [("link", "hung"), ("uplink", "killed")]
        device.plan(hurts, after_ms=3000, watchdog_ms=1500, forgiven=False)
        await beside(device, work(device))

    asyncio.run(run())


def test_a_signed_firmware_that_comes_through_safe_mode_runs(image: Image, tmp_path: Path) -> None:
    bundle = firmware("0.9.0", image.vm.architecture, tmp_path)

    async def run() -> None:
        device = Recovery(tmp_path / "flash", "--vm", str(image.vm.path))
        crashed(device, [5, 6, 0], safe=1)
        (device.folder / "update.key").write_bytes(public(key(0)))
        await beside(device, work(device))

    async def work(device: Recovery) -> None:
        await said(device, "is open")
        cut = await asyncio.to_thread(page, device, "/update", bundle[:3000])
        assert "Refused" in cut
        told = await asyncio.to_thread(page, device, "/update", bundle)
        assert "It is there" in told
        info = await device.until(lambda: device.since(0, "info"), 90, "info")
        assert info[0][1]["firmware"] == "0.9.0"

    asyncio.run(run())


def test_a_meter_that_hung_in_safe_mode_is_left_out_the_next_time(tmp_path: Path) -> None:
    async def run() -> None:
        device = Recovery(tmp_path / "flash")
        crashed(device, [5, 6, 0], safe=1)
        await beside(device, work(device))

    async def work(device: Recovery) -> None:
        await said(device, "is open")
        assert "It does not measure" in await asyncio.to_thread(page, device, "/")

    asyncio.run(run())


def test_a_damaged_identity_opens_safe_mode_with_the_pin_that_is_left(tmp_path: Path) -> None:
    async def run() -> None:
        device = Recovery(tmp_path / "flash")
        crashed(device, [0, 0, 0])
        damaged(device, provider={"host": "broker.lan", "tls": False})
        await beside(device, work(device))

    async def work(device: Recovery) -> None:
        await said(device, "access point Amp Guard_42317 is open")
        assert device.story.access_point.security == "WPA2"
        shown = await asyncio.to_thread(page, device, "/")
        assert "provider port is None, expected 1 to 65535" in shown
        assert "tools/flash.py, over its serial port, says how to repair it" in shown
        assert "It measures and counts" in shown

    asyncio.run(run())


def test_without_a_sound_pin_no_access_point_opens_and_the_console_says_what_to_do(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        device = Recovery(tmp_path / "flash")
        crashed(device, [0, 0])
        damaged(device, pin="short")
        await beside(device, work(device))

    async def work(device: Recovery) -> None:
        await said(device, "safe mode, start 1")
        await said(device, "pin is not eight printable ASCII characters; tools/flash.py")
        await said(device, "no access point")
        assert not device.story.access_point
        assert not [line for line in device.words if "is open" in line]

    asyncio.run(run())
