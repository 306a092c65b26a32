"""The one thread that may block: it brings every measurement to the broker while it is fresh.

In: Measurements through a LiveQueue, the link, the clock, the settings. Out: a connection
(session.py) while there is a way to the broker, the next attempt after it, records kept on flash
meanwhile. `state` tells a person how it stands.

Without memory for a message the device does not restart at once: the message is dropped or waits
its turn, and only when no measurement got through for half a minute the thread ends by it.
"""

import gc
import random
import sys

from micropython import const

from cloud.faults import Fault
from cloud.live_queue import LiveQueue
from cloud.mqtt import RECEIVE
from device.unloading import room, unload

_IDLE_MS = const(10)  # a measurement waits this long at most before it is seen
_HELD_MS = const(30_000)  # a connection that lived this long was a good one
_STARVED_MS = const(30_000)  # without memory; then a restart is the better way
_RETRY_MS = const(1000)  # after an attempt found no memory
_RECORDS = const(16)  # between two looks of this thread: it may sit in a DNS query for long
COMMANDS = const(8)  # that wait; half as many if they are long
_TO_CALL = ("cloud.calling", "cloud.dialing", "cloud.password", "cloud.default_ca")
# Bytes that an attempt takes: beside what talks, which is there from the last one, and with it.
_CALL = 12_000 if sys.maxsize >> 32 else 7_000
_FIRST_CALL = 21_000 if sys.maxsize >> 32 else 12_000
_TO_TALK = ("cloud.session", "cloud.mqtt", "cloud.wire")


class Uplink:
    """`info()` returns the fields of the `info` message that others know; `link` has interface
    and ip; `ca_path` holds the provider's CA certificate (DER); `backlog` keeps records."""

    def __init__(
        self,
        *,
        queue,
        identity,
        settings,
        clock,
        link,
        info,
        socket,
        ssl,
        time,
        log,
        ca_path,
        backlog=None,
    ):
        self.state = "off"
        self.alive_ms = time.ticks_ms()
        self.fault = None  # of cloud.faults, the last one; the page has words for it
        self.crash = None
        self.published = 0  # measurements handed to the broker
        self.connections = 0
        self.starved = 0  # messages that found no memory
        self.queue = queue
        self._identity = identity
        self.settings = settings
        self.clock = clock
        self._link = link
        self.info = info
        self._socket = socket
        self._ssl = ssl
        self.time = time
        self.log = log
        self._ca_path = ca_path
        self.backlog = backlog
        self._records = LiveQueue(_RECORDS)
        self._record = None  # taken from there, and nowhere else yet
        self.commands = LiveQueue(COMMANDS)  # (payload, retained) for the main thread to take
        self.trial = None  # cloud/provider_trial.py: a provider that is not saved yet
        self.watch = None  # called all the time, from outside the main thread
        self.job = None  # what else this thread does, a little at each call
        self.alone = False  # it needs the room of a connection, so there is none
        self.responses = LiveQueue(COMMANDS)
        self.response = None  # taken from there, and not sent yet
        self.wants_report = False
        self.root = "ampguard/%s/" % identity.serial
        self._retry = None  # how to go on after a failure, while there is one
        self.stop_reason = None
        self.stopped = False  # all is said, and what is to be kept is on flash
        self._client = None  # type: cloud.mqtt.SafeClient # type: ignore[assignment]
        self._received = None  # a client's buffer, while there is a way
        self.starved_ms = None  # since when messages find no memory
        self.unheard_ms = None  # and no measurement among them got through
        self.dropped = 0  # measurements too old to be sent, not told yet
        self.announced = 0  # the interval that Home Assistant was told; 0: nothing, -1: unsure
        self.shown_rssi = None

    def run(self):
        """The thread's body. Returns after stop(); a crash is kept for sign_of_life()."""
        try:
            while self.stop_reason is None:
                self.alive()
                try:
                    self._one_way()
                except (MemoryError, ImportError):  # ImportError: half loaded by the main thread
                    if self.starve():
                        raise
                    self._close()
                    self.time.sleep_ms(_RETRY_MS)
            self.collect(keep=True)
            self._enter("off")
            self.stopped = True
        except Exception as crash:
            self.crash = crash
            self._enter("failed: crashed")
            raise  # MicroPython prints what a thread died of

    def record(self, kind, data):
        """Main thread: hands over a record (cloud.records) that must reach the broker."""
        self._records.put((kind, data))

    def respond(self, payload):
        """Main thread: hands over the answer to a command."""
        self.responses.put(payload)

    @property
    def answering(self):
        """True while an answer has not left: do not hand over many more."""
        return len(self.responses) > 0

    def report(self):
        """Main thread: asks for all that is retained to be published anew."""
        self.wants_report = True
        return {}

    def stop(self, reason):
        """Asks the thread to say goodbye, with a word of docs/protocol.md, and to end."""
        self.stop_reason = reason

    def sign_of_life(self):
        """ticks_ms() of the thread's last sign of life. Raises what the thread died of."""
        if self.crash is not None:
            raise self.crash
        return self.alive_ms

    def dial(self, tls, host, port):
        """For `job`: a Wire to another host, by the rules that hold for the broker. Fault."""
        wire = self._calling(self._ca_path).host(tls, host, port)
        unload(*_TO_CALL)
        return wire

    # -- one connection, from the dial to its end

    def way(self):
        """What a connection depends on; a change of it ends the connection. None = no way."""
        trial = self.trial
        if trial is not None and trial.fault is None:
            provider, ca_path = trial.provider, trial.ca_path
        else:
            provider, ca_path = self.settings.provider, self._ca_path
        if self.alone or provider is None or self._link.interface is None:
            return None
        return (self._link.interface, self._link.ip, provider, ca_path)

    def _one_way(self):
        """Waits for a way to the broker, or goes one to its end."""
        way = self.way()
        if way is None:
            self._enter("off")
            self.starved_ms = self.unheard_ms = None
            self._received = None
            unload(*_TO_TALK)
            self.clock.again()
            if self.alone:
                self.work()
            self.drop_old()
            self.collect(keep=True)
            self.time.sleep_ms(_IDLE_MS)
            return
        started = self.time.ticks_ms()
        trial = self.trial
        if trial is not None and trial.provider is not way[2]:
            trial = None
        if not self.state.startswith("failed"):
            self._enter("connecting")
        try:
            self._client = self._call(way[2], way[3])
            self._enter("online")
            started = self.time.ticks_ms()
            self.connections += 1
            # Only now: what has called is gone.
            from cloud.session import Session  # noqa: PLC0415 (while there is a way)

            Session(self, self._client).serve(way, trial)
            self._client.disconnect()
            self._client = None  # type: ignore[assignment]
            self._forget_failures()
            return
        except Fault as fault:
            kind = fault.kind
            words = str(fault)
        took_ms = self.time.ticks_diff(self.time.ticks_ms(), started)
        if self._client is not None:
            self._close()
            if took_ms > _HELD_MS:
                self._forget_failures()
            took_ms = 0  # it was no attempt but a connection
        else:
            self.starved_ms = self.unheard_ms = None  # not for want of memory
        self.collect(keep=True)
        if trial is not None and trial.state == "connecting":
            trial.words = words
            trial.fault = kind
            self._enter("connecting")  # to the provider before it, at once
            return
        self.fault = kind
        self._enter("failed: " + words)
        if self._retry is None:
            from cloud.retry import Retry  # noqa: PLC0415 (gone while all is well)

            self._retry = Retry(lambda n: random.getrandbits(16) % n)
        self._wait(self._retry.after(kind, took_ms), way)

    def _calling(self, ca_path):
        from cloud.calling import Calling  # noqa: PLC0415 (needed until a connection stands)

        return Calling(
            clock=self.clock,
            socket=self._socket,
            ssl=self._ssl,
            time=self.time,
            ca_path=ca_path,
            alive=self.alive,
        )

    def _call(self, provider, ca_path):
        room(_CALL if "cloud.mqtt" in sys.modules else _FIRST_CALL)
        self._received = self._received or bytearray(RECEIVE)
        calling = self._calling(ca_path)
        client = calling.broker(provider, self._identity, self.root + "status", self._received)
        unload(*_TO_CALL)
        return client

    def _close(self):
        if self._client is not None:
            self._client.close()
            self._client = None  # type: ignore[assignment]

    def _forget_failures(self):
        self._retry = None
        unload("cloud.retry")

    def _wait(self, wait_ms, way):
        """Waits before the next attempt, but not when there is another way to try."""
        started = self.time.ticks_ms()
        while self.stop_reason is None:
            if self.time.ticks_diff(self.time.ticks_ms(), started) >= wait_ms:
                return
            if self.wants_report or self.way() != way:
                self.wants_report = False
                self._forget_failures()
                return
            self.alive()
            self.work()
            self.drop_old()
            self.collect(keep=True)
            self.time.sleep_ms(_IDLE_MS)

    # -- what it lives by

    def collect(self, keep):
        """Takes over what the main thread recorded; `keep`: onto flash, nobody takes it now."""
        if self.backlog is None:
            return
        while True:
            if self._record is None:
                self._record = self._records.take()
            if self._record is None:
                break
            self.backlog.put(*self._record)
            self._record = None
        if keep and self.backlog.waiting:
            self.backlog.keep()
            if self.backlog.problem:
                self.log.error("cloud", self.backlog.problem)

    def drop_old(self):
        """Of the measurements that wait only the newest is worth sending."""
        self.dropped += self.queue.skip_to_newest()

    def work(self):
        if self.watch:
            self.watch()
        job = self.job
        if job is not None:
            job()

    def starve(self):
        """A message found no memory. Returns whether that has lasted too long."""
        self.starved += 1
        gc.collect()
        now = self.time.ticks_ms()
        if self.starved_ms is None:
            self.starved_ms = now
        if self.unheard_ms is None:
            self.unheard_ms = now
        return self.time.ticks_diff(now, self.unheard_ms) > _STARVED_MS

    def heard(self):
        """A measurement found memory."""
        self.unheard_ms = None

    def fed(self):
        """Whatever was to be sent found memory."""
        if self.starved_ms is not None:
            self.starved_ms = None
            self.log.warn("cloud", "%d messages found no memory so far" % self.starved)

    def alive(self):
        self.alive_ms = self.time.ticks_ms()

    def _enter(self, state):
        if state != self.state:
            self.state = state
            self.log.info("cloud", state)
