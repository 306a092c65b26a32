"""The composition root: builds the parts, wires them, runs them. No logic lives here.

Main thread (asyncio): meter, link, portal, DNS, supervisor. Second thread: the uplink, which may
block. They share the LiveQueue and read each other's state. See "Ways through the house" in
README.md.
"""

import gc

# Importing leaves garbage between what stays; collected soon, it leaves no holes, and the large
# buffers find room.
gc.threshold(4096)

import _thread
import asyncio
import socket
import ssl
import sys
import time

import network
import ntptime
from micropython import const
from version import VERSION

import board
from cloud import records, service
from cloud.backlog import Backlog
from cloud.events import Events
from cloud.live_queue import LiveQueue
from cloud.uplink import Uplink
from connectivity.clock import Clock
from connectivity.link import Link
from device.log import Log
from device.panel import Panel
from device.settings import Settings
from device.supervisor import Supervisor
from device.unloading import forget, unload
from metering import calibration as calibrations
from metering.energy import Energy
from metering.meter import Meter
from metering.wiring import Wiring
from provisioning.access_point import AccessPoint
from provisioning.portal import Portal

_CA = "/ca.der"  # the certificate that the provider's broker is known by
# What may lie about between two collections, each of which takes the meter's time: about three in
# a page of the portal, none in a second of measuring.
_GARBAGE = 12_000 if sys.maxsize >> 32 else 6_000
_QUEUE = const(8)  # measurements; more would be older than a balancer wants them
_UPLINK_STACK = const(12 * 1024)  # a TLS handshake needs 10 kB
_METER_LIMIT_MS = const(5_000)  # without a slice: longer than a Wi-Fi scan stops everything
_LINK_LIMIT_MS = const(10_000)
_PORTAL_LIMIT_MS = const(10_000)
_PANEL_LIMIT_MS = const(10_000)
_SERVICE_LIMIT_MS = const(600_000)  # a capture, or a whole log, waits for each of its pieces
_UPLINK_LIMIT_MS = const(120_000)  # a dead DNS server holds getaddrinfo for minutes


def main():
    log = Log(time, print, "/log")
    supervisor = Supervisor(board.watchdog(), time, log, board.keep)
    try:
        asyncio.run(run(build(log, supervisor)))
    except (Exception, asyncio.CancelledError) as fault:
        note = None
        try:
            # The heap may be full: what the tasks held goes first.
            for name in ("_task_queue", "cur_task"):
                setattr(asyncio.core, name, None)  # type: ignore[attr-defined]
            gc.collect()
            note = "after %d s: %r" % (supervisor.uptime_s, fault)
            log.error("device", "crashed %s; restarting" % note)
            from device.boots import BootRecord  # noqa: PLC0415 (rarely needed)

            if BootRecord().crashed(fault, supervisor.uptime_s):
                note = None
            log.flush()
        finally:
            board.restart(note)


def build(log, supervisor):
    """Returns the tasks. The uplink's thread runs already."""
    from device import identity as identities  # noqa: PLC0415 (once)

    identity = identities.load("/factory.json")
    del identities
    settings = Settings("/settings", {"provider": identity.provider, "phases": identity.phases})
    for problem in settings.problems:
        log.warn("settings", problem)

    try:
        calibration = calibrations.load(identity.variant, identity.calibration)
    except ValueError as fault:
        log.error("meter", "%s; the printed values of a %s are used" % (fault, identity.variant))
        calibration = calibrations.Calibration(identity.variant)

    phases = settings.phases  # as of now: another number takes a restart
    access_point = AccessPoint(network, identity)
    link = Link(
        network,
        settings,
        identity,
        time,
        lan=board.lan(),
        access_point=access_point,
        log=log,
    )
    clock = Clock(ntptime, time, socket, link.gateway)
    energy = Energy("/energy", time=time)
    if energy.problem:
        log.error("meter", energy.problem)
    adc = board.converter()
    wiring = Wiring(calibration, settings.phases, gc.mem_free)
    meter = Meter(
        adc,
        calibration,
        time=time,
        phases=settings.phases,
        unix_ms=clock.unix_ms,
        energy=energy,
        wiring=wiring,
    )

    def restart():
        log.flush()
        board.restart()

    def info():
        return {
            "serial": identity.serial,
            "variant": identity.variant,
            "range": identity.range_a,
            "phases": phases,
            "firmware": VERSION,
            "image": board.image(),
            "link": link.interface,
            "ip": link.ip,
            "rssi": link.rssi,
            "wiring": wiring.state,
            "boot_count": boots,
            "reset_cause": cause or board.reset_cause(),
            "health": supervisor.health,
        }

    queue = LiveQueue(_QUEUE)
    uplink = Uplink(
        queue=queue,
        identity=identity,
        settings=settings,
        clock=clock,
        link=link,
        info=info,
        socket=socket,
        ssl=ssl,
        time=time,
        log=log,
        ca_path=_CA,
        backlog=Backlog("/backlog"),
    )
    portal = Portal(
        link=link,
        access_point=access_point,
        identity=identity,
        settings=settings,
        meter=meter,
        uplink=uplink,
        info=info,
        supervisor=supervisor,
        restart=restart,
        log=log,
        ssl=ssl,
        ca_path=_CA,
        socket=socket,
        time=time,
    )

    panel = Panel(board.button(), board.led(), link=link, uplink=uplink, time=time, log=log)

    events = Events(uplink.record, clock.unix_ms)

    def obey():
        meter.wire(settings.wiring)
        meter.limits(settings.step_a, settings.supply_max_a)
        return settings.wiring, settings.step_a, settings.supply_max_a

    obeyed = obey()

    unsaved = energy.problem  # it is in the log

    def every_second(measurement):
        nonlocal obeyed, unsaved
        record = energy.minute(clock.unix_ms())
        if energy.problem != unsaved:
            unsaved = energy.problem
            if unsaved:
                log.error("meter", unsaved)
                events.say("storage", unsaved)
        if record is not None:
            uplink.record(*records.energy(record))
        problem = adc.take_problem()
        if problem:
            log.error("meter", problem)
            events.say("adc", problem)
        while meter.events:
            phase, i_ma, seconds = meter.events.pop(0)
            events.overload(phase, i_ma, seconds, settings.supply_max_a)
        for words in wiring.look(measurement):
            events.say("wiring", words)
        if (settings.wiring, settings.step_a, settings.supply_max_a) != obeyed:
            obeyed = obey()

    meter_beat = supervisor.beat("meter", _METER_LIMIT_MS)
    link_beat = supervisor.beat("link", _LINK_LIMIT_MS)
    portal_beat = supervisor.beat("portal", _PORTAL_LIMIT_MS)
    supervisor.watch("uplink", _UPLINK_LIMIT_MS, uplink.sign_of_life)
    uplink.watch = supervisor.look_on

    log.info("device", "%s %s on %s" % (identity.serial, VERSION, board.image()))
    from device import last_run  # noqa: PLC0415 (once)

    boots, cause, crash = last_run.look(board.note(), log, events)
    log.info("device", "boot %d, %s" % (boots, cause or board.reset_cause()))
    del last_run
    unload("device.last_run", "device.boots")
    _thread.stack_size(_UPLINK_STACK)
    _thread.start_new_thread(uplink.run, ())
    return [
        measure(meter, queue, every_second, meter_beat, supervisor.collected),
        link.run(link_beat),
        portal.run(portal_beat),
        panel.run(supervisor.beat("panel", _PANEL_LIMIT_MS)),
        service.run(
            uplink,
            supervisor.beat("service", _SERVICE_LIMIT_MS),
            settings=settings,
            log=log,
            meter=meter,
            clock=clock,
            events=events,
            time=time,
            identity=identity,
            calibration=calibration,
            phases=phases,
            identify=panel.identify,
            restart=restart,
        ),
        supervisor.run(
            meter_beat,
            boots=boots,
            crash=crash,
            clock=clock,
            energy=energy,
            link=link,
            log=log,
        ),
    ]


def settle():
    """From here on nobody builds anything: what only that needs is let go of."""
    forget(sys.modules["main"], "build", "settle")
    forget(board, "converter", "lan", "led", "button", "note", "watchdog")
    forget(calibrations, "load", "_three")
    forget(Energy, "_load")
    forget(Supervisor, "beat", "watch")
    built = AccessPoint, Backlog, Clock, Energy, Events, Link, LiveQueue, Log, Meter, Panel
    for part in built + (Portal, Settings, Supervisor, Uplink, Wiring):
        forget(part, "__init__")


async def run(tasks):
    settle()
    gc.threshold(_GARBAGE)
    await asyncio.gather(*tasks)


async def measure(meter, queue, every_second, alive, collected):
    """Slice after slice; between two the uplink's thread and the other tasks have their turn."""
    while True:
        measurement = meter.slice()
        if measurement is not None:
            queue.put(measurement)
            every_second(measurement)
            gc.collect()  # here, where no cycle is being measured
            collected()
        alive()
        time.sleep_ms(0)  # hands the interpreter over, which asyncio's does not
        await asyncio.sleep(0)
