"""The whole device without hardware: `python3 tools/simulate.py --help` or `make sim`.

Runs the unchanged firmware in the MicroPython VM on a simulated board, with a broker, an
installer and a view of what the broker receives. This file only builds the parts and wires
them. Exit codes: 0 fine, 1 the device did not publish throughout or not what it should, 2 it can't
be started like that, 130 Ctrl-C.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools.own_python import SET_UP, enter, refuse

if __name__ == "__main__":
    enter("simulate")

try:
    from sim import image
    from sim.air import BUILDING, Air
    from sim.broker import EmbeddedBroker
    from sim.contract import Contract
    from sim.control import Control
    from sim.device import SimulatedDevice
    from sim.installer import Installer
    from sim.message import Message
    from sim.options import OptionError, Options, parse
    from sim.phone import Phone, PhoneError
    from sim.plant import Plant
    from sim.recording import Recording
    from sim.serial_port import SerialPort
    from sim.story import Story
    from sim.subscriber import Subscriber
    from sim.verdict import Throughout
    from sim.view import view_for
except ModuleNotFoundError as e:
    refuse("simulate", f"{e.name} is not installed: {SET_UP}")

BROKER_PORT = 1883  # as the device knows it; also tried first on the host
REFRESH_S = 0.25
RETRY_S = 10  # between an installer's attempts
BROKER_ANSWERS_S = 5


class Simulation:
    """One device and its world, from power-on to the end; sim.control turns it."""

    def __init__(self, options: Options, recording: Recording | None, folder: Path) -> None:
        self.options = options
        self.network = (BUILDING.ssid, BUILDING.password)
        self.plant = plant_for(options, recording)
        self.air = Air()
        if options.web:
            self.air.hosts["web.lan"] = "192.168.1.11"
            self.air.route("web.lan", 80, *options.web)
        self.story = Story(f"ampguard/{options.serial}")
        self.view = view_for(options, self.story)
        self.verdict = Throughout()
        self.contract = Contract(f"ampguard/{options.serial}")
        self.broken = ""  # the first message that was not what the contract says
        self.serial = SerialPort(options.repl) if options.repl else None
        self.device = SimulatedDevice(
            folder,
            self.air,
            self.plant,
            options.vm,
            options.heap,
            options.lib,
            options.portal,
            options.dns,
            on_event=self._event,
            on_console=self.view.console,
            factory=None if options.bare else factory_file(options, self.plant),
            bare=options.bare,
            serial=self.serial,
        )
        self._silent = False  # the end has come: what still arrives is not part of the run
        self._news = asyncio.Event()
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Runs to the end. Returns the exit code; OptionError if it can't start."""
        async with contextlib.AsyncExitStack() as stack:
            self._listen_to_signals()
            stack.enter_context(self.view)
            await self._start_broker(stack)
            control = Control(self.options.control, self, self._say)
            await control.start()
            stack.push_async_callback(control.stop)
            if self.serial:
                stack.callback(self.serial.close)
            stack.push_async_callback(self.device.stop)
            stack.callback(setattr, self, "_silent", True)
            self._say(f"control  http://127.0.0.1:{self.options.control}/plant /net /power")
            self._say(f"page     http://127.0.0.1:{self.options.portal}/")
            if self.serial:
                self._say(f"serial   {self.serial.link}")
            if self.options.note:
                self._say(self.options.note)
            tasks = [self._refresh()]
            await self.power_on()
            self.verdict.power_on(time.monotonic())
            if self.options.for_s is not None:
                tasks.append(self._deadline(self.options.for_s))
            tasks.append(self._install() if self.options.provision else self._leave_it())
            running = [asyncio.create_task(task) for task in tasks]
            for task in running:
                stack.callback(task.cancel)
            for task in running:
                task.add_done_callback(self._failed)
            return await self._end

    # What sim.control turns.

    @property
    def powered(self) -> bool:
        return self.device.powered

    def plant_changed(self) -> None:
        self.device.plant_changed()

    async def cut(self) -> None:
        await self.device.cut()

    async def power_on(self) -> None:
        await self.device.start()

    # What comes in.

    def _event(self, event: dict[str, Any]) -> None:
        if self._silent:
            return
        words = self.story.event(event)
        if words:
            self.view.say("board", words)
        if self.story.access_point is None and self.air.stations:
            self.air.set(stations=0)
        self._news.set()

    def _message(self, message: Message) -> None:
        if self._silent:
            return
        self.story.message(message)
        if message.topic == f"ampguard/{self.options.serial}/measurement":
            self.verdict.measured(time.monotonic())
        self.view.message(message)
        broken = self.contract.fault(message)
        if broken:
            self.broken = self.broken or broken
            self._say(f"breaks the contract: {broken}")
        if self.options.json:
            try:
                print(message.line(), flush=True)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                self._finish(1, "nobody reads the messages any more")

    def _say(self, words: str) -> None:
        self.view.say("simulate", words)

    # What it is made of.

    async def _start_broker(self, stack: contextlib.AsyncExitStack) -> None:
        root = f"ampguard/{self.options.serial}"
        if self.options.broker is None:
            broker = await embedded_broker(self._message)
            stack.push_async_callback(broker.stop)
            host, port = "127.0.0.1", broker.port
        else:
            host, port = self.options.broker
            subscriber = Subscriber(
                host, port, root, self._message, lambda words: self.view.say("broker", words)
            )
            stack.push_async_callback(subscriber.stop)
            await subscriber.start(BROKER_ANSWERS_S)
        self.air.route("broker.lan", BROKER_PORT, host, port)
        self.view.broker = f"{host}:{port}"
        self._say(f"broker   {host}:{port}, topics {root}/#")

    async def _install(self) -> None:
        """Plays the installer until the device is on the network, by whatever way."""
        phone = Phone(self.options.portal, self.options.dns)
        installer = Installer(self.options.pin, self.network, phone, self._installer_says)
        while True:
            while self.story.access_point is None and self.story.address is None:
                self._news.clear()
                await self._news.wait()
            access_point = self.story.access_point
            if access_point is None:
                self._installer_says("nothing to install: it went online by itself")
                return
            try:
                installer.join(access_point)
                self.air.set(stations=1)
                await installer.install()
                return
            except PhoneError as e:
                self._installer_says(f"stuck: {e}")
            finally:
                self.air.set(stations=0)
            await asyncio.sleep(RETRY_S)

    def _installer_says(self, words: str) -> None:
        self.view.say("installer", words)

    async def _leave_it(self) -> None:
        ssid, password = self.network
        self._say(f"the form is yours: network {ssid!r}, password {password!r}")

    async def _refresh(self) -> None:
        parent = os.getppid()
        while True:
            self.view.refresh()
            if os.getppid() != parent:
                self._finish(128 + signal.SIGHUP, "whoever started this is gone")
            await asyncio.sleep(REFRESH_S)

    async def _deadline(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        now = time.monotonic()
        fault = self.verdict.fault(now) or (self.broken and f"broke the contract: {self.broken}")
        heap = self.story.heap
        self._finish(
            1 if fault else 0,
            fault
            or self.verdict.summary(now)
            + (
                f"; heap in use {heap['in_use']}, peak {heap['peak']} of {heap['total']} bytes"
                if heap
                else ""
            ),
        )

    # The end.

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._finish, 128 + number, "")

    def _failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()) and not self._end.done():
            self._end.set_exception(e)

    def _finish(self, code: int, words: str) -> None:
        if not self._end.done():
            self._silent = True
            if words:
                self._say(words)
            self.view.refresh()
            self._end.set_result(code)


def plant_for(options: Options, recording: Recording | None) -> Plant:
    """The site; the serial decides which board out of production this is."""
    seed = zlib.crc32(options.serial.encode()) & 0x7FFFFFFF
    plant = Plant(options.variant, options.phases, seed, recording=recording)
    if recording is None:
        plant.set(i=list(options.load))
    return plant


def factory_file(
    options: Options, plant: Plant | None = None, *, tls: bool = False
) -> dict[str, Any]:
    """/factory.json as it leaves the factory with this board; without a plant, uncalibrated."""
    made = {
        "v": 1,
        "serial": options.serial,
        "pin": options.pin,
        "variant": options.variant,
        "phases": options.phases,
        "provider": {"host": "broker.lan", "port": BROKER_PORT, "tls": tls},
    }
    return made | {"calibration": plant.calibration()} if plant else made


async def embedded_broker(on_message: Any) -> EmbeddedBroker:
    """On MQTT's own port if it is free, else on any."""
    for port in (BROKER_PORT, 0):
        broker = EmbeddedBroker(port, on_message)
        with contextlib.suppress(OSError):
            await broker.start()
            return broker
    raise OptionError("no free port for the broker on 127.0.0.1")


async def simulate(options: Options, recording: Recording | None, folder: Path) -> int:
    return await Simulation(options, recording, folder).run()


def main() -> int:
    try:
        options = parse(sys.argv[1:])
        recording = None
        if options.replay is not None:
            recording = Recording.load(options.replay, options.nominal, options.amps)
        image.probe(options.vm)
    except (OptionError, image.ImageError, ValueError) as e:
        refuse("simulate", str(e))
    with tempfile.TemporaryDirectory(prefix="ampguard-flash-") as fresh:
        try:
            folder = options.state or Path(fresh) / "flash"
            return asyncio.run(simulate(options, recording, folder))
        except (OptionError, image.ImageError, OSError) as e:
            refuse("simulate", str(e))


if __name__ == "__main__":
    sys.exit(main())
