"""The composition root: builds the parts, wires them, runs them. No logic lives here.

Main thread (asyncio): meter, link, portal, DNS, supervisor. Second thread: the uplink, which may
block. They share the LiveQueue and read each other's state. See "Ways through the house" in
README.md.
"""

import gc

# Importing leaves garbage between what stays; collected soon, it leaves no holes, and the large
# buffers find room. The same holds later: a page of the portal is garbage a moment after.
gc.threshold(4096)

import _thread
import asyncio
import socket
import ssl
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
from device import identity as identities
from device.log import Log
from device.panel import Panel
from device.settings import Settings
from device.supervisor import BootRecord, Supervisor
from metering import calibration as calibrations
from metering.energy import Energy
from metering.meter import Meter
from metering.wiring import Wiring
from provisioning.access_point import AccessPoint
from provisioning.portal import Portal

_CA = "/ca.der"  # the certificate that the provider's broker is known by
_QUEUE = const(8)  # measurements; more would be older than a balancer wants them
_UPLINK_STACK = const(12 * 1024)  # a TLS handshake needs 10 kB
_METER_LIMIT_MS = const(5_000)  # without a slice: longer than a Wi-Fi scan stops everything
_LINK_LIMIT_MS = const(10_000)
_PORTAL_LIMIT_MS = const(10_000)
_UPLINK_LIMIT_MS = const(120_000)  # a dead DNS server holds getaddrinfo for minutes


def main():
    log = Log(time)
    boots = BootRecord("/boot", "/crash.txt")
    supervisor = Supervisor(board.watchdog(), time, boots, log)
    try:
        asyncio.run(run(log, boots, supervisor))
    except Exception as fault:
        log.error("device", "crashed: %r; restarting" % fault)
        boots.crashed(fault, supervisor.uptime_s)
        board.restart()


async def run(log, boots, supervisor):
    identity = identities.load("/factory.json")
    settings = Settings("/settings", {"provider": identity.provider, "phases": identity.phases})
    for problem in settings.problems:
        log.warn("settings", problem)

    try:
        calibration = calibrations.load(identity.variant, identity.calibration)
    except ValueError as fault:
        log.error("meter", "%s; the printed values of a %s are used" % (fault, identity.variant))
        calibration = calibrations.Calibration(identity.variant)

    phases = settings.phases  # as of now: another number takes a restart
    clock = Clock(ntptime, time, socket)
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
            "boot_count": boots.boots,
            "reset_cause": board.reset_cause(),
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
        restart=board.restart,
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

    def every_second(measurement):
        nonlocal obeyed
        record = energy.minute(clock.unix_ms())
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

    log.info("device", "%s %s on %s" % (identity.serial, VERSION, board.image()))
    _thread.stack_size(_UPLINK_STACK)
    _thread.start_new_thread(uplink.run, ())
    await asyncio.gather(
        measure(meter, queue, every_second, meter_beat),
        link.run(link_beat),
        portal.run(portal_beat),
        panel.run(),
        service.run(
            uplink,
            settings=settings,
            log=log,
            meter=meter,
            clock=clock,
            time=time,
            identity=identity,
            calibration=calibration,
            phases=phases,
            identify=panel.identify,
            restart=board.restart,
        ),
        supervisor.run(),
    )


async def measure(meter, queue, every_second, alive):
    """Slice after slice; between two the uplink's thread and the other tasks have their turn."""
    while True:
        measurement = meter.slice()
        if measurement is not None:
            queue.put(measurement)
            every_second(measurement)
            gc.collect()  # here, where no cycle is being measured
        alive()
        time.sleep_ms(0)  # hands the interpreter over, which asyncio's does not
        await asyncio.sleep(0)


main()
