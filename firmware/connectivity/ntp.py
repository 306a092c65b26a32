"""Asking a time server what time it is, for a Clock (clock.py).

The board's ntptime answers in whole seconds. That says the true time lies within one second;
asking again at the moment that halves what is left narrows it down, to 1/16 s after four
answers. Loaded while somebody asks.
"""

from micropython import const

_FINE_MS = const(63)  # uncertainty that is good enough
_SPACING_MS = const(4000)  # between two questions to a server, as its operators ask for
_RENEW_MS = const(3600_000)  # a crystal of 20 ppm drifts 72 ms in this time
_DRIFT = const(14)  # it may drift by 2**-14 (61 ppm) of the time that passed
_RTC_MS = const(10_000)  # the RTC may be wrong by that; unix_ms() knows by how much


def resolve(clock, nearest=None):
    """See Clock.resolve."""
    servers = clock.servers if nearest is None else clock.servers + (nearest,)
    host = servers[clock.resolved % len(servers)]
    clock.resolved += 1
    try:
        address = clock.socket.getaddrinfo(host, 123)[0][-1][0]
    except OSError:
        clock.problem = "the name %s could not be looked up" % host
    else:
        _know(clock, address)
    address = clock.gateway and clock.gateway()
    if address:
        _know(clock, address)


def _know(clock, address):
    if address not in clock.addresses:
        clock.addresses.append(address)
        if len(clock.addresses) > len(clock.servers) + 2:
            clock.addresses.pop(0)


def sync(clock):
    """Asks one server; blocks for `timeout_s` at most. Returns whether it gave a good answer."""
    if not clock.addresses:
        return False
    ntptime = clock.ntptime
    ntptime.host = clock.addresses[clock.turn % len(clock.addresses)]
    ntptime.timeout = clock.timeout_s
    clock.turn += 1
    try:
        before_ms = clock.rtc_ms()
        answer_s = ntptime.time()
        after_ms = clock.rtc_ms()
    except (OSError, IndexError, ValueError) as fault:
        # IndexError, ValueError: an answer that is too short.
        clock.problem = "%s did not answer (%s)" % (ntptime.host, fault)
        return False
    if not clock.plausible(answer_s):
        clock.problem = "%s said the year %d" % (ntptime.host, clock.time.gmtime(answer_s)[0])
        return False
    clock.problem = ""
    _narrow(clock, (answer_s + clock.epoch) * 1000, before_ms, after_ms)
    return True


def _narrow(clock, answer_ms, before_ms, after_ms):
    # When the server looked at its clock, between before and after, its time was at
    # least the answer and less than a second more.
    now = clock.time.ticks_ms()
    low_ms = answer_ms - after_ms
    high_ms = answer_ms + 1000 - before_ms
    if clock.low_ms is not None:
        passed_ms = clock.time.ticks_diff(now, clock.narrowed_ms)
        drift_ms = (passed_ms >> _DRIFT) + 1
        low_ms = max(low_ms, clock.low_ms - drift_ms)
        high_ms = min(high_ms, clock.high_ms + drift_ms)
    if low_ms > high_ms or clock.low_ms is None:
        # The first answer, or one that contradicts the earlier ones.
        low_ms = answer_ms - after_ms
        high_ms = answer_ms + 1000 - before_ms
    clock.low_ms = low_ms
    clock.high_ms = high_ms
    clock.narrowed_ms = now
    if abs(low_ms) > _RTC_MS:
        _set_rtc(clock)
    clock.offset_ms = (clock.low_ms + clock.high_ms) // 2
    # What the way to the server takes blurs every answer: no finer than that.
    if clock.high_ms - clock.low_ms <= _FINE_MS + 2 * (after_ms - before_ms):
        clock.next_ms = clock.time.ticks_add(now, _RENEW_MS)
        clock.last = clock.rtc_ms(), clock.offset_ms
        clock.first = clock.first or clock.last
    else:
        # Half the remaining interval is ruled out if the server's second turns over
        # when ours, taken at the middle, does.
        into_s = (clock.rtc_ms() + clock.offset_ms) % 1000
        clock.next_ms = clock.time.ticks_add(now, _SPACING_MS + 1000 - into_s)


def _set_rtc(clock):
    # Certificates are checked against the RTC. settime() asks the server once more.
    clock.offset_ms = None  # nobody may add the old offset to the new RTC
    started = clock.time.ticks_ms()
    rtc_ms = clock.rtc_ms()
    try:
        clock.ntptime.settime()
    except (OSError, IndexError, ValueError) as fault:
        clock.problem = "%s did not answer (%s)" % (clock.ntptime.host, fault)
        return
    passed_ms = clock.time.ticks_diff(clock.time.ticks_ms(), started)
    jump_ms = clock.rtc_ms() - rtc_ms - passed_ms
    clock.first = None
    clock.low_ms -= jump_ms
    clock.high_ms -= jump_ms
