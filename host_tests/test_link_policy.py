"""LAN before Wi-Fi before the access point, in virtual time, on a radio that behaves as
ports/esp32/network_wlan.c and network_lan.c do: strict arguments, late events, stale reasons."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import pytest

from connectivity.link import Link
from provisioning.access_point import AccessPoint
from sim.cpython.virtual_time import VirtualTime

HOME = ("Hallonstigen 7", "smultron-och-mjolk")
OTHER = ("Grannen", "blabarssoppa")


class Radio:
    """What is in the air, and what the driver does about it after a while."""

    def __init__(self, time):
        self.time = time
        self.networks = {HOME[0]: HOME[1], OTHER[0]: OTHER[1], "Cafe": ""}
        self.dhcp = True
        self.lease = "192.168.1.57"
        self.joins = []
        self.scans = 0
        self.bad_moments = 0  # handshakes that fail whatever the key
        self.events = []  # (due ns, function)

    def later(self, ms, happen):
        self.events.append((self.time.ns + ms * 1_000_000, happen))

    def run(self):
        while True:
            due = [event for event in self.events if event[0] <= self.time.ns]
            if not due:
                return
            event = min(due, key=lambda item: item[0])
            self.events.remove(event)
            event[1]()


class Sta:
    def __init__(self, radio):
        self.radio = radio
        self.on = False
        self.requested = False
        self.connected = False
        self.associated = None
        self.disconnect_reason = 0
        self.limit = 0
        self.tries = 0
        self.ip = "0.0.0.0"
        self.attempt = 0
        self.leaving = False
        self.leave_ms = 40

    def active(self, on=None):
        if on is not None:
            self.on = bool(on)
        return self.on

    def config(self, *args, **settings):
        assert not args
        for name, value in settings.items():
            if name == "reconnects":
                self.limit = 0 if value == -1 else value + 1
            elif name != "pm":
                raise ValueError("unknown config param")

    def connect(self, ssid, key=None):
        assert self.on
        self.radio.run()
        # A connect() while still associated is taken; until the leave is told, the old
        # association answers status() and isconnected().
        self.radio.joins.append((self.radio.time.ns // 1_000_000, ssid))
        self.tries = 0
        self.requested = True
        self._try(ssid, key or "")

    def _try(self, ssid, key):
        self.attempt = attempt = self.attempt + 1
        radio = self.radio

        def outcome():
            if attempt != self.attempt or not self.requested:
                return
            if radio.bad_moments:
                radio.bad_moments -= 1
                self._lose(15, ssid, key)
            elif ssid not in radio.networks:
                self._lose(201, ssid, key)
            elif radio.networks[ssid] != key:
                self._lose(202 if key else 15, ssid, key)
            else:
                self.associated = ssid
                if radio.dhcp:
                    radio.later(500, address)

        def address():
            if attempt == self.attempt and self.associated:
                self.connected = True
                self.disconnect_reason = 0
                self.ip = radio.lease

        radio.later(2400 if ssid not in radio.networks else 1500, outcome)

    def _lose(self, reason, ssid=None, key=None):
        self.disconnect_reason = reason
        self.leaving = False
        self.connected = False
        self.associated = None
        self.ip = "0.0.0.0"
        if self.requested:
            self.tries += 1
            if (self.limit == 0 or self.tries < self.limit) and ssid:
                self._try(ssid, key)

    def disconnect(self):
        self.requested = False
        if self.associated and not self.leaving:
            self.leaving = True
            self.radio.later(self.leave_ms, lambda: self._lose(8))

    def status(self, what=None):
        self.radio.run()
        if what == "rssi":
            if self.associated is None:
                raise OSError("Wifi Not Connected")
            return -61
        assert what is None
        if self.connected:
            return 1010
        if self.disconnect_reason in (201, 202, 210, 211, 212):
            return self.disconnect_reason
        if self.disconnect_reason == 8:
            return 1000
        if self.requested and (self.limit == 0 or self.tries < self.limit):
            return 1001
        return self.disconnect_reason or 1000

    def isconnected(self):
        self.radio.run()
        return self.connected

    def scan(self):
        assert self.on
        self.radio.scans += 1
        self.radio.time.sleep_ms(2200)
        found = [
            (ssid.encode(), b"\1" * 6, 6, -50, 3 if key else 0, False)
            for ssid, key in self.radio.networks.items()
        ]
        return [
            *found,
            (b"Grannen", b"\2" * 6, 1, -80, 3, False),
            (b"", b"\3" * 6, 1, -40, 3, False),
            (b"\xff\xfe", b"\4" * 6, 1, -40, 3, False),
        ]

    def ifconfig(self):
        self.radio.run()
        return (self.ip, "255.255.255.0", "192.168.1.1", "192.168.1.1")


class NewSta(Sta):
    def ipconfig(self, what):
        assert what == "addr4"
        return (super().ifconfig()[0], "255.255.255.0")

    def ifconfig(self):
        raise AssertionError("deprecated where ipconfig exists")


class Ap:
    def __init__(self, radio):
        self.radio = radio
        self.settings = {"ssid": "ESP_123456", "key": "", "security": 0, "channel": 1}
        self.on = False
        self.phones = 0
        self.seen_on_air = []
        self.ip = "192.168.4.1"

    def active(self, on=None):
        if on is not None:
            self.on = bool(on)
            if self.on:
                self.seen_on_air.append((self.settings["ssid"], self.settings["security"]))
        return self.on

    def config(self, *query, **settings):
        if query:
            return self.settings[query[0]]
        assert set(settings) <= {"ssid", "key", "security", "channel", "max_clients"}
        if len(settings.get("key", "12345678")) < 8:
            raise OSError("Wifi Invalid Password")
        self.settings.update(settings)
        if self.on:
            self.seen_on_air.append((self.settings["ssid"], self.settings["security"]))
        return None

    def isconnected(self):
        return self.phones > 0

    def ifconfig(self, new=None):
        if new:
            assert self.on
            self.ip = new[0]
        return (self.ip,)


class NewAp(Ap):
    def ipconfig(self, what=None, **new):
        if what:
            return (self.ip, "255.255.255.0")
        assert self.on
        assert new == {"addr4": "192.168.251.1/24", "gw4": "192.168.251.1"}
        self.ip = "192.168.251.1"
        return None

    def ifconfig(self, new=None):
        raise AssertionError("deprecated where ipconfig exists")


class Lan:
    def __init__(self):
        self.on = False
        self.ip = "0.0.0.0"
        self.state = 4  # network.ETH_DISCONNECTED
        self.starts = 0

    def active(self, on=None):
        if on is not None:
            self.starts += on and not self.on
            self.on = bool(on)
        return self.on

    def isconnected(self):
        return self.on and self.state == 5

    def status(self):
        return self.state

    def ifconfig(self):
        return (self.ip,)

    def plug(self, ip="192.168.1.58"):
        self.ip = ip
        self.state = 5

    def pull(self):
        self.ip = "0.0.0.0"
        self.state = 4


class Settings:
    def __init__(self, ssid=None, password=""):
        self.wifi_ssid, self.wifi_password = ssid, password
        self.writes = 0
        self.full = False

    def update(self, **changes):
        if self.full:
            raise OSError(28)
        self.writes += 1
        for name, value in changes.items():
            setattr(self, name, value)


class Site:
    """A device somewhere, and the time to watch it."""

    def __init__(self, *, saved=None, lan=False, image="1.29"):
        self.time = VirtualTime()
        self.radio = Radio(self.time)
        new = image != "1.23"
        self.sta = (NewSta if new else Sta)(self.radio)
        self.ap = (NewAp if new else Ap)(self.radio)
        self.lan = Lan() if lan else None
        self.settings = Settings(*(saved or ()))
        self.names = []
        self.lines = []
        wlan = SimpleNamespace(IF_STA=0, IF_AP=1, PM_NONE=0, SEC_WPA2=3)

        class Wlan(SimpleNamespace):
            def __call__(_self, kind):
                return self.ap if kind == 1 else self.sta

        def hostname(name):
            assert not self.sta.on
            assert self.lan is None or not self.lan.on
            self.names.append(name)

        network = SimpleNamespace(
            WLAN=Wlan(**vars(wlan)), hostname=hostname, ETH_CONNECTED=3, ETH_GOT_IP=5
        )
        identity = SimpleNamespace(pin="K7M3XQ9A", digits="42317", ssid="Amp Guard_42317")
        log = SimpleNamespace(
            **{
                level: lambda area, words: self.lines.append(words)
                for level in ("info", "warn", "error")
            }
        )
        self.point = AccessPoint(network, identity)
        self.link = Link(
            network,
            self.settings,
            identity,
            self.time,
            lan=self.lan,
            access_point=self.point,
            log=log,
        )
        self.link.start()

    def watch(self, seconds):
        """Lets time pass; returns the (second, interface) at every change."""
        changes = []
        end = self.time.ns + int(seconds * 1e9)
        begin = self.time.ns
        while self.time.ns < end:
            before = self.link.interface
            self.radio.run()
            self.link.step()
            if self.link.interface != before:
                changes.append(((self.time.ns - begin) / 1e9, self.link.interface))
            self.time.sleep_ms(250)
        return changes


@pytest.mark.parametrize("image", ["1.23", "1.29"])
def test_a_new_device_opens_its_access_point_and_gets_online_with_what_is_typed(image):
    site = Site(image=image)
    site.watch(1)
    assert site.point.active
    assert site.ap.ip == "192.168.251.1"
    assert site.ap.settings["key"] == "K7M3XQ9A"
    assert site.ap.settings["max_clients"] == 4
    assert site.link.trial == ("idle", None, None)
    assert site.link.scan_results[0] == ("Hallonstigen 7", -50, True)
    assert [name for name, _, _ in site.link.scan_results] == [*site.radio.networks]
    assert ("Cafe", -50, False) in site.link.scan_results
    site.link.try_wifi(*HOME)
    assert site.link.trial == ("connecting", None, None)
    assert site.settings.wifi_ssid is None
    site.watch(5)
    assert site.link.trial == ("online", None, "192.168.1.57")
    assert site.link.interface == "wifi"
    assert (site.settings.wifi_ssid, site.settings.wifi_password) == HOME
    assert site.names == ["ampguard-42317"]


def test_the_access_point_is_never_seen_open_on_the_air():
    site = Site()
    site.watch(1)
    site.point.close()
    site.watch(1)
    assert set(site.ap.seen_on_air) == {("Amp Guard_42317", 3)}


def test_an_access_point_whose_security_the_driver_dropped_stays_off():
    site = Site()
    site.ap.config = lambda *query, **_: {"security": 0, "ssid": "Amp Guard_42317"}.get(
        *query or [""]
    )
    site.watch(5)
    assert not site.point.active
    assert site.ap.seen_on_air == []
    assert any("access point" in line for line in site.lines)


def test_an_access_point_that_finds_no_memory_is_not_left_half_open_and_opens_later():
    site = Site()
    address = site.ap.ipconfig

    def starves(*args, **new):
        if new:
            raise MemoryError
        return address(*args, **new)

    site.ap.ipconfig = starves
    site.watch(4)
    assert (site.ap.on, site.point.active) == (False, False)
    scans = site.radio.scans
    assert "access point: " in site.lines
    site.ap.ipconfig = address
    site.watch(5)
    assert (site.point.active, site.radio.scans) == (False, scans)  # a scan stops the meter
    site.watch(8)
    assert site.point.active


def test_a_step_that_finds_no_memory_is_no_sign_of_life_and_the_next_one_looks_anew(monkeypatch):
    monkeypatch.setattr("connectivity.link._STEP_MS", 0)
    site = Site(saved=HOME)
    update = site.settings.update
    hungry = 5
    alive = []

    def starves(**changes):
        nonlocal hungry
        if hungry:
            hungry -= 1
            raise MemoryError
        update(**changes)

    site.settings.update = starves

    def breathe():
        site.radio.run()
        site.time.sleep_ms(250)
        alive.append(hungry)
        if len(alive) > 60:
            raise KeyboardInterrupt  # the end of the story

    site.link.start = lambda: None  # it has
    site.link.try_wifi(*OTHER)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(site.link.run(breathe))
    assert site.settings.wifi_ssid == OTHER[0]
    assert not {1, 2, 3, 4} & set(alive)


def test_a_wrong_password_is_named_and_the_access_point_stays():
    site = Site()
    site.watch(1)
    site.link.try_wifi(HOME[0], "fel-losenord")
    site.watch(15)
    assert site.link.trial == ("failed", "wrong_password", None)
    assert site.settings.writes == 0
    assert site.point.active
    site.watch(700)
    assert site.point.active


def test_the_right_password_after_a_wrong_one_is_not_blamed_for_it():
    site = Site()
    site.watch(1)
    site.link.try_wifi(HOME[0], "fel-losenord")
    site.watch(15)
    site.link.try_wifi(*HOME)
    site.watch(4)
    assert site.link.trial[0] == "online"


def test_slow_dhcp_after_a_wrong_password_is_waited_for():
    site = Site()
    site.watch(1)
    site.link.try_wifi(HOME[0], "fel-losenord")
    site.watch(15)
    site.radio.dhcp = False
    site.link.try_wifi(*HOME)
    site.watch(3)
    lease = site.sta.attempt

    def lease_arrives():
        assert site.sta.attempt == lease
        site.sta.connected, site.sta.ip, site.sta.disconnect_reason = True, "192.168.1.99", 0

    site.radio.later(7000, lease_arrives)
    site.watch(9)
    assert site.link.trial == ("online", None, "192.168.1.99")


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (("Borta", "blabarssoppa"), "not_found"),
        ((HOME[0], "fel-losenord"), "wrong_password"),
        ((HOME[0], ""), "needs_password"),
    ],
)
def test_a_failed_trial_says_why_and_the_old_network_is_rejoined(credentials, reason):
    site = Site(saved=OTHER)
    site.watch(5)
    assert site.link.interface == "wifi"
    site.link.try_wifi(*credentials)
    changes = site.watch(25)
    assert [interface for _, interface in changes] == [None, "wifi"]
    assert site.link.trial == ("failed", reason, "192.168.1.57")
    assert site.sta.associated == OTHER[0]
    assert (site.settings.wifi_ssid, site.settings.writes) == (OTHER[0], 0)


def test_a_network_without_dhcp_is_told_from_one_that_is_silent():
    site = Site()
    site.radio.dhcp = False
    site.link.try_wifi(*HOME)
    site.watch(20)
    assert site.link.trial == ("failed", "no_address", None)


def test_a_trial_never_mistakes_the_old_network_for_the_new_one():
    site = Site(saved=HOME)
    site.watch(5)
    site.sta.leave_ms = 900  # the driver takes its time
    site.link.try_wifi(OTHER[0], "fel-losenord")
    site.watch(25)
    assert site.link.trial[:2] == ("failed", "wrong_password")
    assert site.settings.wifi_ssid == HOME[0]


def test_working_credentials_that_cannot_be_saved_are_a_failure_that_is_told():
    site = Site()
    site.settings.full = True
    site.link.try_wifi(*HOME)
    site.watch(6)
    assert site.link.trial[:2] == ("failed", "not_saved")


def test_one_failed_handshake_is_not_yet_a_wrong_password():
    site = Site()
    site.watch(1)
    site.radio.bad_moments = 1
    site.link.try_wifi(*HOME)
    site.watch(12)
    assert site.link.trial[0] == "online"


def test_a_second_submit_replaces_the_first():
    site = Site()
    site.watch(1)
    site.link.try_wifi("Borta", "blabarssoppa")
    site.watch(1.5)
    site.link.try_wifi(*HOME)
    site.watch(6)
    assert site.link.trial[0] == "online"
    assert site.settings.wifi_ssid == HOME[0]


def test_a_router_that_was_off_for_an_hour_is_rejoined_within_eight_seconds_of_its_return():
    site = Site(saved=HOME)
    site.watch(5)
    network = site.radio.networks.pop(HOME[0])
    site.sta._lose(200)
    site.watch(3600)
    assert site.link.interface is None
    joins = site.radio.joins[-100:]
    rests = {later[0] - earlier[0] for earlier, later in pairwise(joins)}
    assert max(rests) < 6500
    assert len(rests) > 1, "no jitter"
    site.radio.networks[HOME[0]] = network
    assert site.watch(8)[-1][1] == "wifi"
    assert site.settings.writes == 0


def test_whoever_looks_at_the_page_is_left_in_peace_while_the_network_is_gone():
    site = Site(saved=("Borta", "blabarssoppa"))
    site.watch(601)
    site.ap.phones = 1
    before = len(site.radio.joins)
    for _ in range(24):
        site.link.asked = True
        site.watch(5)
    assert 3 <= len(site.radio.joins) - before <= 8


def test_a_phone_that_was_left_on_the_access_point_does_not_delay_the_networks_return():
    site = Site(saved=HOME)
    del site.radio.networks[HOME[0]]
    site.watch(601)
    site.ap.phones = 1
    site.link.asked = True  # and abandoned
    site.watch(60)
    for moment in range(0, 80, 7):  # whatever the device is doing just then
        site.watch(20 + moment / 10)
        assert site.link.interface is None
        site.radio.networks[HOME[0]] = HOME[1]
        (back, interface), *more = site.watch(12)
        assert interface == "wifi"
        assert back < 9.5
        assert not more
        del site.radio.networks[HOME[0]]
        site.sta._lose(200)


def test_the_access_point_opens_after_ten_minutes_without_a_network_and_closes_when_back():
    site = Site(saved=("Borta", "blabarssoppa"))
    site.watch(595)
    assert not site.point.active
    site.watch(10)
    assert site.point.active
    site.radio.networks["Borta"] = "blabarssoppa"
    site.watch(15)
    assert site.link.interface == "wifi"
    site.watch(270)
    assert site.point.active
    site.watch(30)
    assert not site.point.active
    site.watch(900)
    assert not site.point.active


def test_the_button_opens_the_access_point_for_ten_minutes():
    site = Site(saved=HOME)
    site.watch(400)
    assert not site.point.active
    site.link.open_access_point()
    site.watch(590)
    assert site.point.active
    site.watch(20)
    assert not site.point.active
    site.watch(900)
    assert not site.point.active


def test_a_press_while_the_access_point_is_open_prolongs_it_and_leaves_nothing_behind():
    site = Site()
    site.watch(5)
    site.link.try_wifi(*HOME)
    site.watch(200)
    assert site.point.active
    site.link.open_access_point()
    site.watch(590)
    assert site.point.active
    site.watch(20)
    assert not site.point.active
    site.watch(300)
    assert not site.point.active


def test_a_forgotten_network_is_left_for_good_and_the_access_point_opens():
    site = Site(saved=HOME)
    site.watch(400)
    site.link.forget_wifi()
    site.watch(3)
    assert site.link.interface is None
    assert site.link.trial == ("idle", None, None)
    assert site.link.trial_ssid is None
    assert site.point.active
    assert (site.settings.wifi_ssid, site.settings.wifi_password) == (None, "")
    joins = len(site.radio.joins)
    site.watch(120)
    assert len(site.radio.joins) == joins


def test_a_cable_is_used_within_two_seconds_and_its_loss_noticed_within_four():
    site = Site(saved=HOME, lan=True)
    site.watch(5)
    assert site.link.interface == "wifi"
    generation = site.link.generation
    site.lan.plug()
    changes = site.watch(5)
    assert [interface for _, interface in changes] == ["lan"]
    assert changes[0][0] <= 2
    assert site.link.ip == "192.168.1.58"
    assert site.link.generation > generation
    assert site.sta.associated is None, "two default routes"
    site.lan.pull()
    changes = site.watch(6)
    assert changes[-1][1] == "wifi"
    assert changes[-1][0] <= 4


def test_a_loose_cable_does_not_make_the_device_flap():
    site = Site(saved=HOME, lan=True)
    site.watch(5)
    changes = []
    for _ in range(20):
        site.lan.plug()
        changes += site.watch(4)
        site.lan.pull()
        changes += site.watch(4)
    assert [interface for _, interface in changes].count("lan") <= 4
    site.lan.plug()
    site.watch(20)
    assert site.link.interface == "lan"


def test_a_device_on_lan_alone_needs_no_wifi_and_closes_its_access_point():
    site = Site(lan=True)
    site.lan.plug()
    site.watch(5)
    assert site.point.active
    assert site.link.trial == ("online", None, "192.168.1.58")
    site.watch(310)
    assert not site.point.active
    assert site.radio.joins == []
    site.lan.pull()
    site.watch(5)
    assert site.point.active


def test_a_trial_while_the_cable_works_is_carried_out_and_saved():
    site = Site(lan=True)
    site.lan.plug()
    site.watch(5)
    site.link.try_wifi(*HOME)
    changes = site.watch(10)
    assert changes == []
    assert site.link.trial == ("online", None, "192.168.1.58")
    assert site.settings.wifi_ssid == HOME[0]
    assert site.sta.associated is None


def test_a_moved_lease_is_noticed():
    site = Site(saved=HOME)
    site.watch(5)
    generation = site.link.generation
    site.sta.ip = "192.168.1.77"
    site.watch(2)
    assert site.link.ip == "192.168.1.77"
    assert site.link.generation == generation + 1


def test_a_lease_that_ended_without_a_word_leads_to_a_new_join():
    site = Site(saved=HOME)
    site.watch(5)
    site.sta.ip = "0.0.0.0"
    site.watch(20)
    assert site.link.ip == "192.168.1.57"
    assert len(site.radio.joins) == 2


@pytest.mark.parametrize("state", [3, 5], ids=["never had one", "lost it"])
def test_a_cable_without_an_address_is_asked_for_one_anew_every_fifteen_seconds(state):
    site = Site(lan=True)
    site.lan.pull()
    site.watch(60)
    assert site.lan.starts == 1, "a cable that is not in"
    site.lan.plug("0.0.0.0")
    site.lan.state = state
    site.watch(40)
    assert site.lan.starts == 3
    site.lan.plug()
    site.watch(60)
    assert site.link.interface == "lan"
    assert site.lan.starts == 3


def test_a_scan_that_is_asked_for_waits_for_the_trial():
    site = Site()
    site.watch(1)
    site.link.try_wifi(*HOME)
    site.link.request_scan()
    assert site.link._asked_for_scan
    site.watch(0.5)
    assert site.radio.scans == 1
    site.watch(6)
    assert site.radio.scans == 2
    assert not site.link._asked_for_scan
    assert site.link.scan_pause_ms == 2200


def test_ticks_may_wrap_at_any_moment():
    site = Site(saved=HOME)
    site.time.ns = ((1 << 30) - 1500) * 1_000_000
    site.link._last_ms = site.time.ticks_ms()
    site.watch(5)
    assert site.link.interface == "wifi"


def test_no_line_of_the_log_holds_a_password():
    site = Site(saved=OTHER)
    site.watch(2)
    site.link.try_wifi(HOME[0], "fel-losenord")
    site.watch(20)
    site.link.try_wifi(*HOME)
    site.watch(10)
    assert site.lines
    secrets = ("fel-losenord", HOME[1], OTHER[1], "K7M3XQ9A")
    assert not [line for line in site.lines if any(secret in line for secret in secrets)]
