"""What time it is: Unix milliseconds, once NTP has said so, and None before.

The board's ntptime answers in whole seconds. That says the true time lies within one second;
asking again at the moment that halves what is left narrows it down, to 1/16 s after four
answers. Only the uplink's thread calls sync(); anybody may call unix_ms().
"""

from micropython import const

_EPOCH_2000 = const(946684800)  # s from 1970 to 2000
_EARLIEST_YEAR = const(2025)  # nothing of this firmware ran before
_LATEST_YEAR = const(2125)
_FINE_MS = const(63)  # uncertainty that is good enough
_SPACING_MS = const(4000)  # between two questions to a server, as its operators ask for
_RENEW_MS = const(3600_000)  # a crystal of 20 ppm drifts 72 ms in this time
_DRIFT = const(14)  # it may drift by 2**-14 (61 ppm) of the time that passed
_RTC_MS = const(10_000)  # the RTC may be wrong by that; unix_ms() knows by how much
_RETRY_FIRST_MS = const(2000)
_RETRY_UNSET_MS = const(60_000)  # TLS waits for the time: no longer than for a broker
_RETRY_LAST_MS = const(900_000)

SERVERS = ("pool.ntp.org", "time.google.com", "time.cloudflare.com")


class Clock:
    """`ntptime`: the image's module (host, timeout, time(), settime()). `socket` is only asked
    for addresses. `time`: MicroPython's. `gateway()`: the router's address or None; many routers
    tell the time, without any DNS."""

    timeout_s = 1  # one server's time to answer

    def __init__(self, ntptime, time, socket, gateway=None, servers=SERVERS):
        self._ntptime = ntptime
        self._time = time
        self._socket = socket
        self._gateway = gateway
        self._servers = servers
        self._addresses = []
        self._turn = 0
        self._resolved = 0
        self._epoch = _EPOCH_2000 if time.gmtime(0)[0] == 2000 else 0
        # True time minus RTC lies between these; None = not asked since the start.
        self._low_ms = None
        self._high_ms = None
        self._narrowed_ms = 0  # when
        # (RTC ms, offset ms) when it was known finely for the first and for the last time: what
        # lies between is the drift.
        self.first = self.last = None
        # The RTC runs through a reset that is no power cut: then the time is known at once.
        self._offset_ms = 0 if self._plausible(time.time()) else None
        self._next_ms = time.ticks_ms()
        self._retry_ms = _RETRY_FIRST_MS
        self.problem = "not asked yet"  # why the last question failed, empty after an answer

    @property
    def is_set(self):
        return self._offset_ms is not None

    def unix_ms(self):
        """Milliseconds since 1970, or None before the clock is set."""
        offset_ms = self._offset_ms
        if offset_ms is None:
            return None
        return self._rtc_ms() + offset_ms

    @property
    def knows_servers(self):
        return len(self._addresses) > 0

    def again(self):
        """There is another way to the servers: no need to wait any longer."""
        if not self.is_set:
            self._next_ms = self._time.ticks_ms()
            self._retry_ms = _RETRY_FIRST_MS

    def due(self):
        """True when sync() has something to do."""
        return self._time.ticks_diff(self._time.ticks_ms(), self._next_ms) >= 0

    def resolve(self, nearest=None):
        """Looks one server's address up. Blocks as long as DNS does: only between connections.

        `nearest`: a host to ask in turn with the public servers, which a firewall may hide."""
        servers = self._servers if nearest is None else self._servers + (nearest,)
        host = servers[self._resolved % len(servers)]
        self._resolved += 1
        try:
            address = self._socket.getaddrinfo(host, 123)[0][-1][0]
        except OSError:
            self.problem = "the name %s could not be looked up" % host
        else:
            self._know(address)
        address = self._gateway and self._gateway()
        if address:
            self._know(address)

    def _know(self, address):
        if address not in self._addresses:
            self._addresses.append(address)
            if len(self._addresses) > len(self._servers) + 2:
                self._addresses.pop(0)

    def sync(self):
        """Asks one server; blocks for `timeout_s` at most. Returns whether the clock is set."""
        if not self._addresses:
            self._later()
            return self.is_set
        ntptime = self._ntptime
        ntptime.host = self._addresses[self._turn % len(self._addresses)]
        ntptime.timeout = self.timeout_s
        self._turn += 1
        try:
            before_ms = self._rtc_ms()
            answer_s = ntptime.time()
            after_ms = self._rtc_ms()
        except (OSError, IndexError, ValueError) as fault:
            # IndexError, ValueError: an answer that is too short.
            self.problem = "%s did not answer (%s)" % (ntptime.host, fault)
            self._later()
            return self.is_set
        if not self._plausible(answer_s):
            self.problem = "%s said the year %d" % (ntptime.host, self._time.gmtime(answer_s)[0])
            self._later()
            return self.is_set
        self.problem = ""
        self._retry_ms = _RETRY_FIRST_MS
        self._narrow((answer_s + self._epoch) * 1000, before_ms, after_ms)
        return self.is_set

    def _narrow(self, answer_ms, before_ms, after_ms):
        # When the server looked at its clock, between before and after, its time was at
        # least the answer and less than a second more.
        now = self._time.ticks_ms()
        low_ms = answer_ms - after_ms
        high_ms = answer_ms + 1000 - before_ms
        if self._low_ms is not None:
            passed_ms = self._time.ticks_diff(now, self._narrowed_ms)
            drift_ms = (passed_ms >> _DRIFT) + 1
            low_ms = max(low_ms, self._low_ms - drift_ms)
            high_ms = min(high_ms, self._high_ms + drift_ms)
        if low_ms > high_ms or self._low_ms is None:
            # The first answer, or one that contradicts the earlier ones.
            low_ms = answer_ms - after_ms
            high_ms = answer_ms + 1000 - before_ms
        self._low_ms = low_ms
        self._high_ms = high_ms
        self._narrowed_ms = now
        if abs(low_ms) > _RTC_MS:
            self._set_rtc()
        self._offset_ms = (self._low_ms + self._high_ms) // 2
        # What the way to the server takes blurs every answer: no finer than that.
        if self._high_ms - self._low_ms <= _FINE_MS + 2 * (after_ms - before_ms):
            self._next_ms = self._time.ticks_add(now, _RENEW_MS)
            self.last = self._rtc_ms(), self._offset_ms
            self.first = self.first or self.last
        else:
            # Half the remaining interval is ruled out if the server's second turns over
            # when ours, taken at the middle, does.
            into_s = (self._rtc_ms() + self._offset_ms) % 1000
            self._next_ms = self._time.ticks_add(now, _SPACING_MS + 1000 - into_s)

    def _set_rtc(self):
        # Certificates are checked against the RTC. settime() asks the server once more.
        self._offset_ms = None  # nobody may add the old offset to the new RTC
        started = self._time.ticks_ms()
        rtc_ms = self._rtc_ms()
        try:
            self._ntptime.settime()
        except (OSError, IndexError, ValueError) as fault:
            self.problem = "%s did not answer (%s)" % (self._ntptime.host, fault)
            return
        passed_ms = self._time.ticks_diff(self._time.ticks_ms(), started)
        jump_ms = self._rtc_ms() - rtc_ms - passed_ms
        self.first = None
        self._low_ms -= jump_ms
        self._high_ms -= jump_ms

    def _later(self):
        self._next_ms = self._time.ticks_add(self._time.ticks_ms(), self._retry_ms)
        self._retry_ms = min(
            self._retry_ms * 2, _RETRY_LAST_MS if self.is_set else _RETRY_UNSET_MS
        )

    def _plausible(self, rtc_s):
        return _EARLIEST_YEAR <= self._time.gmtime(rtc_s)[0] <= _LATEST_YEAR

    def _rtc_ms(self):
        return self._time.time_ns() // 1_000_000 + self._epoch * 1000
