"""What time it is: Unix milliseconds, once NTP has said so, and None before.

Only the uplink's thread calls resolve() and sync(), which ask (ntp.py, loaded meanwhile); anybody
may call unix_ms().
"""

from micropython import const

from device.unloading import unload

_EPOCH_2000 = const(946684800)  # s from 1970 to 2000
_EARLIEST_YEAR = const(2025)  # nothing of this firmware ran before
_LATEST_YEAR = const(2125)
_RETRY_FIRST_MS = const(2000)
_RETRY_UNSET_MS = const(60_000)  # TLS waits for the time: no longer than for a broker
_RETRY_LAST_MS = const(900_000)

SERVERS = ("pool.ntp.org", "time.google.com", "time.cloudflare.com")


class Clock:
    """`ntptime`: the image's module (host, timeout, time(), settime()). `socket` is only asked
    for addresses. `time`: MicroPython's. `gateway()`: the router's address or None; many routers
    tell the time, without any DNS. What it keeps is ntp.py's to change."""

    timeout_s = 1  # one server's time to answer

    def __init__(self, ntptime, time, socket, gateway=None, servers=SERVERS):
        self.ntptime = ntptime
        self.time = time
        self.socket = socket
        self.gateway = gateway
        self.servers = servers
        self.addresses = []
        self.turn = 0
        self.resolved = 0
        self.epoch = _EPOCH_2000 if time.gmtime(0)[0] == 2000 else 0
        # True time minus RTC lies between these; None = not asked since the start.
        self.low_ms = None
        self.high_ms = None
        self.narrowed_ms = 0  # when
        # (RTC ms, offset ms) when it was known finely for the first and for the last time: what
        # lies between is the drift.
        self.first = self.last = None
        # The RTC runs through a reset that is no power cut: then the time is known at once.
        self.offset_ms = 0 if self.plausible(time.time()) else None
        self.next_ms = time.ticks_ms()
        self.retry_ms = _RETRY_FIRST_MS
        self.problem = "not asked yet"  # why the last question failed, empty after an answer

    @property
    def is_set(self):
        return self.offset_ms is not None

    def unix_ms(self):
        """Milliseconds since 1970, or None before the clock is set."""
        offset_ms = self.offset_ms
        if offset_ms is None:
            return None
        return self.rtc_ms() + offset_ms

    @property
    def knows_servers(self):
        return len(self.addresses) > 0

    def again(self):
        """There is another way to the servers: no need to wait any longer."""
        if not self.is_set:
            self.next_ms = self.time.ticks_ms()
            self.retry_ms = _RETRY_FIRST_MS

    def due(self):
        """True when sync() has something to do."""
        return self.time.ticks_diff(self.time.ticks_ms(), self.next_ms) >= 0

    def resolve(self, nearest=None):
        """Looks one server's address up. Blocks as long as DNS does: only between connections.

        `nearest`: a host to ask in turn with the public servers, which a firewall may hide."""
        from connectivity import ntp  # noqa: PLC0415 (once an hour)

        ntp.resolve(self, nearest)
        unload("connectivity.ntp")

    def sync(self):
        """Asks one server; blocks for `timeout_s` at most. Returns whether the clock is set."""
        answered = False
        try:
            from connectivity import ntp  # noqa: PLC0415 (once an hour)

            answered = ntp.sync(self)
        except MemoryError:
            self.problem = "no memory to ask"
        unload("connectivity.ntp")
        if answered:
            self.retry_ms = _RETRY_FIRST_MS
        else:
            self.next_ms = self.time.ticks_add(self.time.ticks_ms(), self.retry_ms)
            longest_ms = _RETRY_LAST_MS if self.is_set else _RETRY_UNSET_MS
            self.retry_ms = min(self.retry_ms * 2, longest_ms)
        return self.is_set

    def plausible(self, rtc_s):
        return _EARLIEST_YEAR <= self.time.gmtime(rtc_s)[0] <= _LATEST_YEAR

    def rtc_ms(self):
        return self.time.time_ns() // 1_000_000 + self.epoch * 1000
