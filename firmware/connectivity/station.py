"""The Wi-Fi station: one attempt to join at a time, its outcome named.

In: `join(ssid, password)`, `leave()`, `step(now)` a few times a second. Out: `state`, `reason`
(a key), `ip`, `rssi`. It never waits: the radio works, we look.
"""

from micropython import const

from connectivity.addresses import address, gateway
from device.unloading import unload

OFF = const(0)  # not asked to be anywhere
LEAVING = const(1)  # the old association goes, join() follows
JOINING = const(2)
UP = const(3)  # has an address
FAILED = const(4)  # `reason` says why; nothing happens until join()

_IDLE = const(1000)
_CONNECTING = const(1001)
_GOT_IP = const(1010)
_NOT_FOUND = const(201)

# Espressif's wifi_err_reason_t. 15 and 204: the four-way handshake got no answer, which is how
# a router reacts to a wrong key; 2, 202: authentication failed. Beside these an attempt can end in
# needs_password, no_address and no_answer; provisioning/text has the words for people.
_OF_STATUS = {
    2: "wrong_password",
    15: "wrong_password",
    202: "wrong_password",
    204: "wrong_password",
    200: "lost",
    _NOT_FOUND: "not_found",
    203: "refused",
    5: "refused",  # the router is full
    210: "security",
    211: "security",
    212: "too_far",
}

_LEAVE_MS = const(200)
_JOIN_MS = const(15_000)
# status() keeps the previous attempt's reason until something new happens, and connect() does
# not clear it. The same code is believed once an attempt must have come to an end: a search of
# all channels takes 2.5 s, a handshake that fails up to 5 s.
_SAME_STATUS_MS = const(6_000)
_SAME_NOT_FOUND_MS = const(3_000)
_ADDRESS_EVERY_MS = const(1_000)
_RSSI_EVERY_MS = const(10_000)
_ADDRESS_GONE_MS = const(8_000)


def reason_of(status, password):
    """The reason key for a status code of the station; `password` as it was tried."""
    reason = _OF_STATUS.get(status, "refused")
    if reason == "wrong_password" and not password:
        return "needs_password"
    return reason


class Station:
    def __init__(self, network, time):
        self._nic = network.WLAN(network.WLAN.IF_STA)
        self._power_save_off = network.WLAN.PM_NONE
        self._time = time
        self._ssid = self._password = None
        self._since = self._seen = self._rated = time.ticks_ms()
        self._status_before = _IDLE
        self.state = OFF
        self.reason = None
        self.ip = None
        self.rssi = None

    @property
    def mac(self):
        return self._nic.config("mac")

    @property
    def gateway(self):
        return gateway(self._nic)

    def start(self):
        self._nic.active(True)
        # Power save delays answers by 100 ms and more, and can hang an ADC conversion.
        self._nic.config(pm=self._power_save_off)

    def join(self, ssid, password):
        self._disconnect()
        self._ssid = ssid
        self._password = password
        self._enter(LEAVING)

    def leave(self):
        if self.state != OFF:
            self._disconnect()
            self._enter(OFF)

    def step(self, now):
        state = self.state
        if state == LEAVING:
            if self._elapsed(now) >= _LEAVE_MS:
                if self._nic.isconnected():  # or the old network would pass for the new one
                    self._disconnect()
                else:
                    self._connect()
        elif state == JOINING:
            self._watch_joining(now)
        elif state == UP:
            self._watch_up(now)

    def scan(self):
        """See scan.py; nothing where that fails. Interrupts an attempt to join."""
        if self.state in (LEAVING, JOINING):
            self.leave()
        try:
            from connectivity import scan  # noqa: PLC0415 (see there)

            return scan.networks(self._nic)
        except (OSError, RuntimeError, MemoryError):
            return []
        finally:
            unload("connectivity.scan")

    def _connect(self):
        self._status_before = self._nic.status()
        try:
            # With the default (reconnect for ever) a wrong password reads as "connecting".
            self._nic.config(reconnects=0)
            if self._password:
                self._nic.connect(self._ssid, self._password)
            else:
                self._nic.connect(self._ssid)
        except (OSError, RuntimeError):  # the driver is still busy with the last attempt
            self._fail("refused")
            return
        self._enter(JOINING)

    def _watch_joining(self, now):
        nic = self._nic
        status = nic.status()
        if status == _GOT_IP:
            ip = address(nic)
            if ip:
                self._enter(UP)
                self.ip = ip
                self._rate(now)
                return
        elif status in (_IDLE, _CONNECTING):
            pass
        elif status != self._status_before or self._ended_unseen(status, now):
            self._fail(reason_of(status, self._password))
            return
        if self._elapsed(now) >= _JOIN_MS:
            # Only an associated station knows a signal strength: then it is DHCP that is silent.
            reason = "no_answer" if self._signal() is None else "no_address"
            self._disconnect()
            self._fail(reason)

    def _ended_unseen(self, status, now):
        after = _SAME_NOT_FOUND_MS if status == _NOT_FOUND else _SAME_STATUS_MS
        return self._elapsed(now) >= after and self._signal() is None

    def _watch_up(self, now):
        if not self._nic.isconnected():
            status = self._nic.status()
            known = status in _OF_STATUS and status != _NOT_FOUND
            self._fail(reason_of(status, self._password) if known else "lost")
            return
        if self._time.ticks_diff(now, self._seen) < _ADDRESS_EVERY_MS:
            return
        ip = address(self._nic)
        if ip:
            self._seen = now
            self.ip = ip
        elif self._time.ticks_diff(now, self._seen) >= _ADDRESS_GONE_MS:
            # The lease ended and no server renews it: isconnected() does not notice.
            self._disconnect()
            self._fail("no_address")
            return
        if self._time.ticks_diff(now, self._rated) >= _RSSI_EVERY_MS:
            self._rate(now)

    def _rate(self, now):
        self._seen = self._rated = now
        self.rssi = self._signal()

    def _signal(self):
        try:
            return self._nic.status("rssi")
        except (OSError, RuntimeError):  # not associated
            return None

    def _disconnect(self):
        try:
            self._nic.disconnect()
        except (OSError, RuntimeError):  # there was nothing to leave
            pass

    def _fail(self, reason):
        self._enter(FAILED)
        self.reason = reason

    def _enter(self, state):
        self.state = state
        self._since = self._time.ticks_ms()
        self.reason = None
        self.ip = None
        self.rssi = None

    def _elapsed(self, now):
        return self._time.ticks_diff(now, self._since)
