"""Calibration beside a reference: the tool that leads through it, and the one it talks to."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from flash_bench import ROOT, run

from calibrating.protocol import CONSTANTS, Session, bars, document
from calibrating.readings import Point, Reading, Reference, complaints, read
from calibrating.reference import ReferenceFailed, Scpi, Typed
from calibrating.sampler import Failed as WindowFailed
from calibrating.sampler import Sampler
from metering.adc import InternalAdc
from metering.calibration import load
from shipping.board import Failed, Refused
from sim.air import Air
from sim.cpython.virtual_time import VirtualTime
from sim.device import SimulatedDevice
from sim.image import Image
from sim.options import parse
from sim.plant import Plant
from sim.scpi_source import ScpiSource
from sim.serial_port import SerialPort
from tools import calibrate
from tools.simulate import factory_file

IDENTITY = factory_file(parse([]))
POINTS = [
    {"volts": 230, "amperes": 10},
    {"volts": 210, "amperes": 60},
    {"volts": 230, "amperes": 40, "lag_deg": 60},
    {"volts": 240, "amperes": 25, "lag_deg": 37, "check": True},
]


class Desk:
    """A board on a plant, in virtual time on CPython: what the tool sends it is run here."""

    def __init__(self, plant: Plant, calibration: dict | None = None) -> None:
        self.port, self.plant = "desk", plant
        self.about = SimpleNamespace(chip="ESP32", image="1.29.0", mac=b"\x24\x0a\xc4\x01\x02\x03")
        self.files = {"factory.json": json.dumps(IDENTITY | {"variant": plant.variant}).encode()}
        if calibration:
            factory = json.loads(self.files["factory.json"]) | {"calibration": calibration}
            self.files["factory.json"] = json.dumps(factory).encode()
        self.restarted = 0
        time = VirtualTime()
        readers = [reader.read_u16 for reader in plant.readers(time)]
        self._modules: dict[str, Any] = {
            "board": SimpleNamespace(converter=lambda: InternalAdc(readers)),
            "machine": SimpleNamespace(WDT=lambda timeout: None),
            "time": time,
        }
        self._names: dict[str, Any] = {}

    def run(self, code: str) -> bytes:
        said = io.StringIO()
        with patch.dict(sys.modules, self._modules), contextlib.redirect_stdout(said):
            exec(code, self._names)
        return said.getvalue().encode()

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise Failed("no such file")
        return self.files[path]

    def write(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def restart(self) -> None:
        self.restarted += 1

    @property
    def calibration(self) -> dict[str, Any] | None:
        return json.loads(self.files["factory.json"]).get("calibration")


@contextlib.contextmanager
def source_on(plant: Plant) -> Iterator[ScpiSource]:
    """The simulated source, in a thread of its own."""
    source = ScpiSource(plant)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(source.start(), loop).result()
    try:
        yield source
    finally:
        asyncio.run_coroutine_threadsafe(source.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def calibrated(desk: Desk, folder: Path, *options: str, answers: str = "") -> tuple[int, str]:
    """The tool on the desk's board. Returns its exit code, or what it stopped with, and its
    words."""
    (folder / "points").write_text(json.dumps(POINTS))
    told = [*options, "--by", "T. Ester", "--points", str(folder / "points"), "--seconds", "1"]
    told += ["--protocol", str(folder / "protocol.html"), "--settle", "0"]
    out = calibrate.Console(file=io.StringIO(), width=120)
    with (
        patch.object(calibrate, "wait_until_ready", lambda *_: "0.1.0"),
        patch.object(sys, "stdin", io.StringIO(answers)),
    ):
        found = calibrate.parser().parse_args(told)
        work = calibrate.Calibration(desk, found, calibrate.points_of(folder / "points"), out)  # type: ignore[arg-type]
        try:
            code = work.run()
        except (calibrate.Stopped, Refused) as error:
            return 1, out.file.getvalue() + str(error)  # type: ignore[attr-defined]
    return code, out.file.getvalue()  # type: ignore[attr-defined]


def test_a_board_beside_a_source_is_calibrated_and_what_led_to_it_is_filed(tmp_path: Path) -> None:
    plant = Plant(seed=12, noise_lsb=2)
    desk = Desk(plant)
    with source_on(plant) as source:
        address = f"127.0.0.1:{source.port}"
        code, said = calibrated(desk, tmp_path, "--scpi", address, "--yes", "--note", "<lab 3>")
        assert code == 0, said
        assert not source.on  # whatever happens, it is off in the end
    new, exact = desk.calibration, plant.calibration()
    assert new
    assert (new["by"], new["v"]) == ("T. Ester", 1)
    for name in ("gain_i_na", "gain_u_nv"):
        assert new[name] == pytest.approx(exact[name], rel=0.002)
    for phase in range(3):  # it is the difference of the two leads that counts
        found = new["phase_i_mdeg"][phase] - new["phase_u_mdeg"][phase]
        assert found == pytest.approx(
            exact["phase_i_mdeg"][phase] - exact["phase_u_mdeg"][phase], abs=100
        )
    page = (tmp_path / "protocol.html").read_text()
    for words in ("AG100042317G", "T. Ester", "&lt;lab 3&gt;", "Simulated source", "<svg",
                  "All errors are within their limits", str(new["gain_i_na"][1])):  # fmt: skip
        assert words in page
    assert json.loads((tmp_path / "protocol.json").read_text()) == new


def test_typed_values_calibrate_as_well(tmp_path: Path) -> None:
    plant = Plant(seed=5)
    desk = Desk(plant)

    class Bench(Typed):
        """A person who sets the source and types what it shows."""

        def read(self, point: Point) -> Reference:
            return super().read(point)

        def set(self, point: Point) -> None:
            plant.set(u=[point.volts] * 3, i=[point.amperes] * 3, phi=[point.lag_deg] * 3)

    answers = ["calibrator no. 7"]
    for point in POINTS:
        answers += ["", "", f"{point['amperes']:g},0", ""]
    with patch.object(calibrate, "Typed", Bench):
        code, said = calibrated(desk, tmp_path, answers="\n".join(answers) + "\n")
    assert code == 0, said
    assert desk.calibration
    assert desk.calibration["gain_i_na"] == pytest.approx(
        plant.calibration()["gain_i_na"], rel=0.003
    )
    assert "calibrator no. 7" in (tmp_path / "protocol.html").read_text()


def test_a_calibration_is_never_replaced_without_telling(tmp_path: Path) -> None:
    plant = Plant(seed=3)
    old = plant.calibration(0.004)
    with source_on(plant) as source:
        address = f"127.0.0.1:{source.port}"
        desk = Desk(plant, old)
        code, said = calibrated(desk, tmp_path, "--scpi", address, "--yes")
        assert code == 1
        assert "--replace" in said
        code, said = calibrated(desk, tmp_path, "--scpi", address, answers="no\n")
        assert code == 1
        assert "calibrated by bench at 2026-01-01" in said
        assert desk.calibration == old
        assert desk.restarted == 1  # the board goes on as before
        code, said = calibrated(desk, tmp_path, "--scpi", address, "--yes", "--dry-run")
        assert (code, desk.calibration) == (0, old)
        code, said = calibrated(desk, tmp_path, "--scpi", address, answers="yes\n")
        assert code == 0
        assert desk.calibration
        assert desk.calibration["by"] == "T. Ester"
    assert "by bench at 2026-01-01" in (tmp_path / "protocol.html").read_text()


def test_errors_beyond_the_limits_are_filed_and_not_written(tmp_path: Path) -> None:
    """A source that shows one thing at the points and another where it is checked."""
    plant = Plant(seed=3)
    desk = Desk(plant)
    with source_on(plant) as source:
        plain = source.answer

        def crooked(line: str) -> str | None:
            said = plain(line)
            if line.strip() == "MEAS:CURR?" and said and abs(float(said) - 25) < 0.1:
                return f"{1.01 * float(said):.5E}"
            return said

        source.answer = crooked  # type: ignore[method-assign]
        code, said = calibrated(desk, tmp_path, "--scpi", f"127.0.0.1:{source.port}", "--yes")
    assert code == 1
    assert "I of L1 at 240 V, 25 A, PF 0.80 lagging is -1.0" in said
    assert desk.calibration is None
    assert desk.restarted == 1  # it goes on as before
    assert "Not passed" in (tmp_path / "protocol.html").read_text()


def test_a_single_phase_board_is_calibrated_on_its_one_phase(tmp_path: Path) -> None:
    class Site(Plant):
        def set(self, **fields: Any) -> None:
            one = {name: [fields[name][0], 0, 0] for name in ("u", "i", "phi") if name in fields}
            super().set(**fields | one)

    plant = Site(phases=1, seed=9)
    desk = Desk(plant)
    desk.files["factory.json"] = json.dumps(IDENTITY | {"phases": 1}).encode()
    with source_on(plant) as source:
        address = f"127.0.0.1:{source.port}"
        code, said = calibrated(desk, tmp_path, "--scpi", address, "--yes", "--one-by-one")
    assert code == 0, said
    assert desk.calibration
    exact, printed = plant.calibration(), load("home")
    assert desk.calibration["gain_i_na"][0] == pytest.approx(exact["gain_i_na"][0], rel=0.003)
    assert desk.calibration["gain_i_na"][1:] == list(printed.gain_i_na[1:])


def complaints_of(
    point: Point, phases: list[int], reference: Reference | None = None, **plant: Any
) -> list[str]:
    site = Plant(**({"seed": 4, "i": [20, 20, 20]} | plant))
    calibration = load(site.variant)
    alive = [40_000 * 1000 // (gain // 1000) for gain in calibration.gain_u_nv]
    windows = [Sampler(Desk(site), alive).window(300)]
    shown = [reference or Reference(point.volts, point.amperes, point.lag_deg)] * 3
    return complaints(windows, calibration, point, shown, phases)


AT = Point(230, 20)


@pytest.mark.parametrize(
    ("phases", "plant", "words"),
    [
        ([0, 1, 2], {}, None),
        ([0, 1, 2], {"ct": ["L1", None, "L3"]}, "clamp 2 shows no current ("),
        ([0, 1, 2], {"ct": ["L1", "L2", "unplugged"]}, "clamp 3 has no bias"),
        ([0, 1, 2], {"u": [230, 0, 230]}, "voltage L2 shows nothing"),
        ([0, 1, 2], {"ct": ["L1", "-L2", "L3"]}, "clamp 2 is the wrong way round"),
        ([0, 1, 2], {"ct": ["L2", "L1", "L3"]}, "clamp 1 and voltage L1 are of different phases"),
        ([0, 1, 2], {"i": [20, 40, 20]}, "does the conductor go through 2 times?"),
        ([0, 1, 2], {"i": [20, 10, 20]}, "the reference is 2 times as much"),
        ([0, 1, 2], {"i": [20, 5, 20]}, "a 400 A clamp on a board for 100 A?"),
        ([0, 1, 2], {"u": [230, 200, 230]}, "voltage L2 shows"),
        ([0, 1, 2], {"phi": [0, 25, 0]}, "lagging given as leading?"),
        ([0], {"ct": [None, "L1", None]}, "clamp 2 shows the current meant for clamp 1"),
        ([0], {"ct": ["L1", None, "L1"]}, "clamp 3 carries 1"),
        ([0], {"ct": ["L1", None, None]}, None),
    ],
)
def test_what_is_wrong_at_the_bench_is_said_in_its_words(
    phases: list[int], plant: dict, words: str | None
) -> None:
    found = complaints_of(AT, phases, **plant)
    if words is None:
        assert found == []
    else:
        assert any(words in line for line in found), found
        assert len(found) <= 2


def test_a_clipped_clamp_a_low_reference_and_an_unsteady_source_are_no_readings() -> None:
    high = Point(230, 150)
    (clipped,) = complaints_of(high, [0], i=[150, 0, 0], ct=["L1", None, None])
    assert clipped == "clamp 1 is clipped: lower the reference"
    low = complaints_of(Point(230, 1), [0, 1, 2], i=[1, 1, 1])
    assert [line.split(":")[0] for line in low] == ["the reference of 1 A is too low"] * 3
    assert low[2].endswith("clamp 3 needs 1.5 A or more")
    assert "50 V is too low" in complaints_of(Point(50, 20), [0], u=[50] * 3)[0]
    plant = Plant(seed=4, i=[20] * 3)
    sampler = Sampler(Desk(plant), [1500] * 3)
    windows = [sampler.window(200)]
    plant.set(i=[20.3] * 3)
    windows.append(sampler.window(200))
    shown = [Reference(230, 20, 0)] * 3
    found = complaints(windows, load("home"), AT, shown, [0])
    assert "not steady" in found[0]


def test_a_power_factor_nobody_knows_finds_no_phase(tmp_path: Path) -> None:
    points = [point for point in POINTS if "lag_deg" not in point]
    plant = Plant(seed=3)
    desk = Desk(plant)
    with source_on(plant) as source, patch.object(sys.modules[__name__], "POINTS", points):
        code, said = calibrated(desk, tmp_path, "--scpi", f"127.0.0.1:{source.port}", "--yes")
    assert code == 1
    assert "clamp 1: no point with a known power factor" in said
    assert desk.calibration is None


def test_a_board_that_measures_no_whole_cycle_is_no_reading() -> None:
    for answer, words in ((b"([0] * 52", "answered"), (b"", "answered")):
        desk = SimpleNamespace(run=lambda code, answer=answer: answer)
        with pytest.raises(WindowFailed, match=words):
            Sampler(desk, [1500] * 3).window()


def test_a_typed_value_is_asked_for_until_it_is_one() -> None:
    said = iter(["", "abc", "-5", "229,8", "1e5", "20", "leading", "95", "-30.5"])
    typed = Typed(lambda words, default: next(said))
    assert typed.read(AT) == Reference(229.8, 20.0, -30.5)
    said = iter(["230", "20", "-"])
    assert typed.read(AT).lag_deg is None


def test_what_a_source_refuses_or_does_not_understand_is_told(tmp_path: Path) -> None:
    plant = Plant()
    with source_on(plant) as source:
        address = f"127.0.0.1:{source.port}"
        scpi = Scpi(address, settle_s=0)
        assert scpi.name == "Amp Guard,Simulated source,0,1.0"
        scpi.set(Point(231, 12, -30))
        assert scpi.read(AT) == Reference(231, 12, -30)
        assert plant.state()["i"] == [12] * 3
        with pytest.raises(ReferenceFailed, match="Data out of range"):
            scpi.set(Point(400, 12))
        scpi.close()
        assert plant.state()["u"] == [0] * 3
        words = tmp_path / "dialect"
        words.write_text('{"lag": null, "set_lag": "SOUR:ANGL {lag_deg}"}')
        other = Scpi(address, words, settle_s=0)
        with pytest.raises(ReferenceFailed, match="Undefined header"):
            other.set(AT)
        assert other.read(AT).lag_deg is None
        other.close()
        words.write_text('{"volt": "VOLT"}')
        with pytest.raises(ReferenceFailed, match="expected any of"):
            Scpi(address, words)
    with pytest.raises(ReferenceFailed, match="expected a VISA resource name or HOST:PORT"):
        Scpi("5025")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seconds", "-5"], "--seconds -5: expected 1 to 1000"),
        (["--settle", "nan"], "--settle nan: expected 0 to 1000"),
        (["--max-amps", "0"], "--max-amps 0: expected 0.1 to 1000"),
        (["--dialect", "d"], "--dialect: expected --scpi with it"),
        (["--scpi", "x", "--dialect", "d"], "--dialect d: [Errno 2] No such file"),
        (["--points", "p"], "expected numbers, -1000 to 1000"),
        (["--yes"], "--yes: expected --scpi with it"),
    ],
)
def test_a_senseless_option_is_refused_before_the_board_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    points = [{"volts": "high", "amperes": 1}, {"volts": 230, "amperes": 2}]
    Path("p").write_text(json.dumps(points))
    monkeypatch.setattr(sys, "argv", ["calibrate", "--port", "/dev/nowhere", *options])
    with pytest.raises(SystemExit) as ended:
        calibrate.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_the_scale_in_the_terminal_marks_what_is_off() -> None:
    reading = Reading(AT, Reference(230, 20, 0), 1, 230, 20.1, 4646, 0, 50, 0)
    _, line, _ = bars([reading])
    assert line.startswith("L2 230 V, 20 A")
    assert line.index("●") > line.index("u")
    beyond = Reading(AT, Reference(230, 20, 0), 1, 230, 22, 4600 * 1.1, 0, 50, 0)
    old = {"v": 1, "by": "a & b", "at": 0} | {name: [1, 2, 3] for name in CONSTANTS}
    session = Session(
        serial="AG1", variant="home", board="b", firmware="f", reference="r", by="me", at=0,
        note="", old=old, new=old, readings=[(beyond, beyond)],
    )  # fmt: skip
    assert session.faults[0].startswith("I of L2 at 230 V, 20 A, PF 1.00 is +10.00 % off")
    assert "by a &amp; b at 1970-01-01" in document(session)


def test_the_maths_agrees_with_the_plants_truth_at_any_power_factor() -> None:
    plant = Plant(seed=7, i=[30, 20, 10], phi=[60, -60, 10], f=60, noise_lsb=2)
    calibration = load("home", plant.calibration())
    windows = [Sampler(Desk(plant), [1500] * 3).window(500)]
    truth = plant.truth()
    lags = (60, -60, 10)
    shown = [Reference(truth["u"][n], truth["i"][n], lag) for n, lag in enumerate(lags)]
    for reading in read(windows, calibration, AT, shown, range(3)):
        for quantity, error in reading.errors().items():
            assert abs(error) < (0.7 if quantity == "P" else 0.3)
        assert reading.lag_deg == pytest.approx(lags[reading.phase], abs=0.2)
        assert reading.watts == pytest.approx(truth["p"][reading.phase], rel=0.01)
        assert math.isclose(reading.hertz, 60, abs_tol=0.02)


def test_a_simulated_board_is_calibrated_over_its_serial_port(
    image: Image, tmp_path: Path
) -> None:
    """The real tool on the real VM, over the pty, with a source on a TCP port."""
    plant = Plant(seed=12, noise_lsb=2)
    points = tmp_path / "points"
    points.write_text(json.dumps(POINTS[1:]))
    folder = tmp_path / "flash"

    async def main() -> tuple[int, str]:
        serial = SerialPort(tmp_path / "tty")
        device = SimulatedDevice(
            folder, Air(), plant, heap="140wk", image=image, factory=IDENTITY, serial=serial
        )
        source = ScpiSource(plant, device.plant_changed)
        await source.start()
        async with device:
            await device.until("boot")
            words = ["--port", str(serial.link), "--scpi", f"127.0.0.1:{source.port}", "--yes"]
            words += ["--points", str(points), "--seconds", "1", "--settle", "0.2"]
            words += ["--by", "T. Ester", "--protocol", str(tmp_path / "p.html")]
            found = await run(sys.executable, str(ROOT / "tools" / "calibrate.py"), *words)
        serial.close()
        await source.stop()
        return found

    code, said = asyncio.run(main())
    assert code == 0, said
    new = json.loads((folder / "factory.json").read_text())
    assert {name: new[name] for name in IDENTITY} == IDENTITY
    exact = plant.calibration()
    for name in ("gain_i_na", "gain_u_nv"):
        assert new["calibration"][name] == pytest.approx(exact[name], rel=0.004)
