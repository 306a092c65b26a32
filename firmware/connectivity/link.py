"""How the device reaches the building's network: LAN before Wi-Fi before its own access point.

In: the hardware, the settings, `try_wifi(ssid, password)` from the portal. Out: `interface`, `ip`,
`rssi`, `scan_results`, `trial`; `generation` counts every change of interface or address, so that
whoever holds a socket knows that it is dead. `step()` looks four times a second and never waits.
"""

import asyncio
from binascii import hexlify

from micropython import const

from connectivity import station as wifi
from connectivity.addresses import address, gateway

_STEP_MS = const(250)

# A cable counts after a second of stable address. Once it has been lost three times, each time
# within a minute, it must hold for 15 s before working Wi-Fi is given up for it: no flapping.
_CABLE_STEADY_MS = const(1_000)
_CABLE_DOUBTED_MS = const(15_000)
_CABLE_TRUST_MS = const(60_000)
_CABLE_LOSSES = const(3)
# lwIP asks for an address after 2, 4, 8 ... 60 s: begun anew it asks often again.
_UNLEASED_MS = const(15_000)

# Rests between attempts to join; a quarter more at most, so that a street of devices does not
# come back in step after a power cut. They stay short: measurements must be back within 10 s
# of the network's return, an attempt takes 3 s and may just have missed it.
_RESTS_MS = (0, 500, 1_000, 2_000)
# A phone on the access point shares our radio, and every attempt takes it off the channel.
_REST_WITH_PHONE_MS = const(20_000)  # while somebody looks at the page

_TRIAL_DELAY_MS = const(800)  # the portal's answer reaches the phone before the radio moves
_TRIAL_ATTEMPTS = const(2)  # one failed handshake may be a bad moment, two are a wrong password

_ACCESS_POINT_AFTER_MS = const(600_000)  # without any working network
_ACCESS_POINT_STAYS_MS = const(300_000)  # after the device is online
_ACCESS_POINT_ASKED_MS = const(600_000)  # once somebody has pressed the button
_ACCESS_POINT_RETRY_MS = const(10_000)

_CAP_MS = const(1 << 28)  # elapsed times stop counting here: three days


class Link:
    def __init__(
        self, network, settings, identity, time, *, lan=None, access_point=None, log=None
    ):
        self._network = network
        self._settings = settings
        self._identity = identity
        self._time = time
        self._lan = lan
        self._access_point = access_point
        self._log = log
        self._station = wifi.Station(network, time)
        self._last_ms = time.ticks_ms()

        self.interface = None  # "lan", "wifi" or None
        self.ip = None
        self.generation = 0
        self.scan_results = []  # (ssid, rssi, secured), strongest first
        self.scan_pause_ms = 0  # how long the last scan stopped everything else

        self._cable_ms = 0  # how long the cable has had an address
        self._cable_trust_ms = _CAP_MS  # since it was last lost
        self._cable_losses = 0
        self._unleased_ms = 0  # how long the cable has had a link and no address

        self._rest_ms = 0
        self._attempts = 0
        self._why = None  # the last failed attempt's reason

        self._candidate: tuple = ()  # (ssid, password) on trial
        self._trial = "idle"
        self._trial_reason = None
        self._trial_ssid = None
        self._trial_begun = False  # the old network has been left

        self._offline_ms = 0
        self._online_ms = 0
        self._welcome = True  # a device without credentials opens its access point at start
        self._asked_for_access_point = False
        self.asked = False  # has a page been asked for since the last rest?
        self._stays_ms = _ACCESS_POINT_STAYS_MS
        self._asked_for_scan = False
        self._access_point_rest_ms = 0

    @property
    def rssi(self):
        return self._station.rssi if self.interface == "wifi" else None

    def gateway(self):
        """The router's address, or None."""
        return gateway(self._lan) if self.interface == "lan" else self._station.gateway

    @property
    def trial(self):
        """(state, reason key or None, ip or None), state idle, connecting, online or failed.

        The last trial's outcome stands until the next; without one it is how the device is now.
        """
        state = self._trial
        if state in ("connecting", "failed"):
            return state, self._trial_reason, self.ip
        if self.interface:
            return "online", None, self.ip
        if self._settings.wifi_ssid or state == "online":
            return "connecting", self._why, None
        return "idle", None, None

    @property
    def trial_ssid(self):
        """The network of the last trial, else the saved one, else None."""
        return self._trial_ssid or self._settings.wifi_ssid

    def try_wifi(self, ssid, password):
        """Tries these credentials soon; a running trial is replaced. See `trial`."""
        self._candidate = (ssid, password)
        self._trial = "connecting"
        self._trial_reason = None
        self._trial_ssid = ssid
        self._attempts = 0
        self._rest_ms = _TRIAL_DELAY_MS
        self._trial_begun = False

    def forget_wifi(self):
        """Forgets network and password; the access point opens. OSError: the flash is full."""
        self._settings.update(wifi_ssid=None, wifi_password="")
        self._candidate = ()
        self._trial = "idle"
        self._trial_reason = self._trial_ssid = self._why = None
        self._station.leave()
        self.open_access_point()
        self._say("info", "Wi-Fi is forgotten")

    def macs(self):
        """(name, MAC as text) of each interface."""
        found = [("Wi-Fi", hexlify(self._station.mac, ":").decode())]
        if self._lan is not None:
            found.append(("LAN", hexlify(self._lan.config("mac"), ":").decode()))
        return found

    def open_access_point(self):
        """For the button: opens it at the next step; from now on it stays ten minutes."""
        self._asked_for_access_point = True
        self._online_ms = 0
        self._stays_ms = _ACCESS_POINT_ASKED_MS

    def request_scan(self):
        """A new scan at the next step. It stops everything else, the meter too, for 2 to 3 s."""
        self._asked_for_scan = True

    async def run(self, alive=None):
        """The task. `alive` is called after every step."""
        self.start()
        while True:
            try:
                self.step()
                if alive:
                    alive()
            except MemoryError:
                pass  # the next step looks anew; where none succeeds, nobody is alive here
            await asyncio.sleep(_STEP_MS / 1000)

    def start(self):
        # Before any interface is active: DHCP requests carry it from the first one on.
        self._network.hostname("ampguard-" + self._identity.digits)
        if self._lan is not None:
            try:
                self._lan.active(True)
            except OSError as fault:
                self._say("warn", "LAN is not usable: %s" % fault)
                self._lan = None
        self._station.start()
        self._last_ms = self._time.ticks_ms()

    def step(self):
        now = self._time.ticks_ms()
        passed = self._time.ticks_diff(now, self._last_ms)
        self._last_ms = now
        cable_ip = self._watch_cable(passed)
        self._station.step(now)
        self._steer_station(passed, cable_ip)
        self._choose(cable_ip)
        self._watch_access_point(passed)
        if self._asked_for_scan and not self._candidate:
            self._scan()

    # LAN

    def _watch_cable(self, passed):
        """The cable's address if it is to be used, else None."""
        lan = self._lan
        if lan is None:
            return None
        self._cable_trust_ms = min(self._cable_trust_ms + passed, _CAP_MS)
        if self._cable_trust_ms >= _CABLE_TRUST_MS:
            self._cable_losses = 0
        ip = address(lan) if lan.isconnected() else None
        self._unleased_ms = 0 if ip else self._unleased_ms + passed
        if ip is None:
            if lan.status() not in (self._network.ETH_CONNECTED, self._network.ETH_GOT_IP):
                self._unleased_ms = 0
            elif self._unleased_ms >= _UNLEASED_MS:
                self._unleased_ms = 0
                lan.active(False)
                lan.active(True)
            if self._cable_ms:
                self._cable_losses += 1
                self._cable_trust_ms = 0
            self._cable_ms = 0
            return None
        self._cable_ms = min(self._cable_ms + passed, _CAP_MS)
        if self.interface == "lan" or self._station.state != wifi.UP:
            return ip
        doubted = self._cable_losses >= _CABLE_LOSSES
        return (
            ip if self._cable_ms >= (_CABLE_DOUBTED_MS if doubted else _CABLE_STEADY_MS) else None
        )

    # Wi-Fi

    def _steer_station(self, passed, cable_ip):
        station = self._station
        self._rest_ms -= min(passed, self._rest_ms)
        if self._candidate:
            self._steer_trial()
        elif cable_ip:
            # With both up the stack would keep sending over Wi-Fi: its route has precedence.
            station.leave()
        elif station.state == wifi.UP:
            self._attempts = 0
            self._why = None
        elif station.state == wifi.FAILED:
            if station.reason != self._why:
                self._why = station.reason
                self._say("info", "%r: %s" % (self._settings.wifi_ssid, self._why))
            self._rest_ms = self._rest()
            station.leave()
        elif station.state == wifi.OFF and self._settings.wifi_ssid and not self._rest_ms:
            self._attempts += 1
            station.join(self._settings.wifi_ssid, self._settings.wifi_password)

    def _rest(self):
        """How long to wait before the next attempt, ms."""
        if self._access_point is not None and self._access_point.clients and self.asked:
            rest = _REST_WITH_PHONE_MS
            self.asked = False
        else:
            rest = _RESTS_MS[min(self._attempts, len(_RESTS_MS)) - 1] if self._attempts else 0
        spread = (self._time.ticks_us() ^ int(self._identity.digits)) & 0xFF
        return rest + (rest * spread >> 10)

    def _steer_trial(self):
        station = self._station
        ssid, password = self._candidate
        if not self._trial_begun:
            if not self._rest_ms:
                station.leave()
                self._trial_begun = True
        elif station.state == wifi.UP:
            self._keep(ssid, password)
        elif station.state == wifi.FAILED:
            reason = station.reason
            if self._attempts >= _TRIAL_ATTEMPTS or reason in ("no_address", "no_answer"):
                self._end_trial("failed", reason)
            else:
                station.leave()
        elif station.state == wifi.OFF:
            self._attempts += 1
            station.join(ssid, password)

    def _keep(self, ssid, password):
        try:
            self._settings.update(wifi_ssid=ssid, wifi_password=password)
        except (OSError, ValueError) as fault:
            self._say("error", "working credentials could not be saved: %s" % fault)
            self._end_trial("failed", "not_saved")
            return
        self._end_trial("online", None)

    def _end_trial(self, state, reason):
        self._say("info", "trial of %r: %s" % (self._candidate[0], reason or state))
        self._candidate = ()
        self._trial = state
        self._trial_reason = reason
        self._attempts = 0
        self._rest_ms = 0
        self._online_ms = 0  # whoever watches has five minutes to read what came of it
        if state == "failed":
            self._station.leave()  # and back to the network that worked

    def _scan(self):
        self._asked_for_scan = False
        began = self._time.ticks_ms()
        self.scan_results = self._station.scan()
        self.scan_pause_ms = self._time.ticks_diff(self._time.ticks_ms(), began)
        self._say(
            "info",
            "%d networks; measuring paused %d ms for the scan"
            % (len(self.scan_results), self.scan_pause_ms),
        )

    # The outcome

    def _choose(self, cable_ip):
        station = self._station
        interface = ip = None
        if cable_ip:
            interface, ip = "lan", cable_ip
        elif station.state == wifi.UP and not (self._candidate and self._trial_begun):
            interface, ip = "wifi", station.ip
        if interface != self.interface or ip != self.ip:
            self.interface = interface
            self.ip = ip
            self.generation += 1
            self._say("info", "%s %s" % (interface, ip) if interface else "offline")

    # Access point

    def _watch_access_point(self, passed):
        point = self._access_point
        online = self.interface is not None
        self._offline_ms = 0 if online else min(self._offline_ms + passed, _CAP_MS)
        self._online_ms = min(self._online_ms + passed, _CAP_MS) if online else 0
        if point is None:
            return
        if point.active:
            self._asked_for_access_point = False
            if online and not self._candidate and self._online_ms >= self._stays_ms:
                point.close()
                self._stays_ms = _ACCESS_POINT_STAYS_MS
                self._say("info", "access point closed")
            return
        self._access_point_rest_ms -= min(passed, self._access_point_rest_ms)
        new = not self._settings.wifi_ssid
        wanted = (
            self._asked_for_access_point
            or (new and (self._welcome or not online))
            or self._offline_ms >= _ACCESS_POINT_AFTER_MS
        )
        if wanted and not self._access_point_rest_ms:
            self._open_access_point()

    def _open_access_point(self):
        self._access_point_rest_ms = _ACCESS_POINT_RETRY_MS
        self._scan()  # now: later it would take the radio away from the phones
        try:
            self._access_point.open()
        except (OSError, RuntimeError, ValueError, MemoryError) as fault:
            self._say("error", "access point: %s" % fault)
            return
        self._access_point_rest_ms = 0
        self._welcome = False
        self._asked_for_access_point = False
        self._online_ms = 0
        self._say("info", "access point %s is open" % self._identity.ssid)

    def _say(self, level, words):
        if self._log is not None:
            getattr(self._log, level)("link", words)
