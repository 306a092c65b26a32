# The ESP32 image's `network` (ports/esp32/network_wlan.c, network_lan.c, network_common.c): the
# same states, codes, refusals and delays. Everything the radio does is an event for the host.
import _clock
import _net
import utime as _utime
from _board import config as _config
from _board import emit as _emit
from micropython import const as _const

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_CONNECT_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
STAT_NO_AP_FOUND_W_COMPATIBLE_SECURITY = 210
STAT_NO_AP_FOUND_IN_AUTHMODE_THRESHOLD = 211
STAT_NO_AP_FOUND_IN_RSSI_THRESHOLD = 212
AUTH_OPEN = 0
AUTH_WEP = 1
AUTH_WPA_PSK = 2
AUTH_WPA2_PSK = 3
AUTH_WPA_WPA2_PSK = 4
AUTH_WPA2_ENTERPRISE = 5
AUTH_WPA3_PSK = 6
AUTH_WPA2_WPA3_PSK = 7
PHY_LAN8710 = 0
PHY_LAN8720 = 1
PHY_IP101 = 2
PHY_RTL8201 = 3
PHY_DP83848 = 4
PHY_KSZ8041 = 5
PHY_KSZ8081 = 6
ETH_INITIALIZED = 0
ETH_STARTED = 1
ETH_STOPPED = 2
ETH_CONNECTED = 3
ETH_DISCONNECTED = 4
ETH_GOT_IP = 5

_OLD = _config.get("image", "1.29.0") < "1.24"
_SCAN_MS = _const(2200)
_SEARCH_MS = _const(2400)
_JOIN_MS = _const(1500)
_DHCP_MS = _const(500)
_REFUSE_MS = _const(2500)
_AUTONEGOTIATE_MS = _const(1200)
_BEACON_TIMEOUT_MS = _const(600)

_hostname = "mpy-esp32"
_country = "XX"
_MAC = bytes.fromhex(_config.get("mac", "3c8a1f5e2b40"))


def _invalid_argument():
    return RuntimeError("Wifi Unknown Error 0x0102")


def country(*code):
    global _country
    if not code:
        return _country
    if len(code[0]) != 2:
        raise ValueError
    _country = code[0]


def hostname(*name):
    global _hostname
    if not name:
        return _hostname
    if len(name[0]) > 32:
        raise ValueError
    _hostname = name[0]


def phy_mode(*mode):
    return None


def _address(text):
    parts = text.split(".")
    try:
        if len(parts) == 4 and all(0 <= int(p) <= 255 for p in parts):
            return text
    except ValueError:
        pass
    raise ValueError("invalid arguments")


def _mask(bits):
    n = 0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF
    return "%d.%d.%d.%d" % (n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255)


class _Interface:
    # What WLAN and LAN share: addresses, and how lwIP asks for one: at once, and while nobody
    # answers after 2, 4, 8 ... 60 s more.
    _asks = 0

    def _ask(self, now):
        self._asks = 0
        self._due = _utime.ticks_add(now, _DHCP_MS)

    def _leased(self, kind, now):
        # An address, or None for now.
        if _net.dhcp_answers():
            for words in _net.world("lease", kind):
                return words[0]
        self._asks = min(self._asks + 1, 6)
        self._due = _utime.ticks_add(now, min(1 << self._asks, 60) * 1000)
        return None

    def ifconfig(self, *args):
        if not args:
            if not self._has_address():
                return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")
            return (self._ip, self._netmask, self._gateway, self._dns)
        if len(args) != 1:
            raise TypeError("function takes 2 positional arguments")
        if not self.active():
            raise OSError("Wifi Not Started")
        if args[0] == "dhcp" and not self._serves:
            return None
        if not isinstance(args[0], (tuple, list)) or len(args[0]) != 4:
            raise ValueError("invalid arguments")
        ip, netmask, gateway, dns = args[0]
        netmask = _mask(netmask) if isinstance(netmask, int) else _address(netmask)
        self._set(_address(ip), netmask, _address(gateway), _address(dns))

    def _ipconfig(self, *args, **kwargs):
        if not kwargs:
            if len(args) != 1:
                raise TypeError("must query one param")
            if args[0] == "addr4":
                return self.ifconfig()[:2]
            if args[0] == "gw4":
                return self.ifconfig()[2]
            if args[0] == "dhcp4" and not self._serves:
                return True
            raise ValueError("unexpected key")
        if args:
            raise TypeError("can't specify pos and kw args")
        if not self.active():
            raise OSError("Wifi Not Started")
        ip, netmask, gateway = self._ip, self._netmask, self._gateway
        for key, value in kwargs.items():
            if key == "addr4" and isinstance(value, str):
                ip, slash, bits = value.partition("/")
                _address(ip)
                if slash:
                    netmask = _mask(int(bits))
            elif key == "addr4":
                ip, netmask = _address(value[0]), _address(value[1])
            elif key == "gw4":
                gateway = _address(value)
            elif key != "dhcp4" or self._serves:
                raise ValueError("unexpected key")
        self._set(ip, netmask, gateway, self._dns)

    def _set(self, ip, netmask, gateway, dns):
        self._ip, self._netmask, self._gateway, self._dns = ip, netmask, gateway, dns


if not _OLD:
    _Interface.ipconfig = _Interface._ipconfig

    def ipconfig(*args, **kwargs):
        if kwargs:
            if list(kwargs) != ["dns"]:
                raise ValueError("unexpected key")
            _address(kwargs["dns"])
            return None
        if args != ("dns",):
            raise ValueError("unexpected key")
        return "192.168.1.1" if _net.sta_ip or _net.lan_ip else "0.0.0.0"


class WLAN(_Interface):
    IF_STA = 0
    IF_AP = 1
    SEC_OPEN = 0
    SEC_WEP = 1
    SEC_WPA = 2
    SEC_WPA2 = 3
    SEC_WPA_WPA2 = 4
    SEC_WPA2_ENT = 5
    SEC_WPA3 = 6
    SEC_WPA2_WPA3 = 7
    SEC_WAPI = 8
    SEC_OWE = 9
    SEC_WPA3_ENT_192 = 10
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __new__(cls, *args):
        if len(args) > 1:
            raise TypeError("function expected at most 1 arguments, got %d" % len(args))
        which = args[0] if args else 0
        if which == 0:
            return _sta
        if which == 1:
            return _ap
        raise ValueError("invalid WLAN interface identifier")

    def __init__(self, *args):
        pass

    def _require(self, serves):
        if self._serves != serves:
            raise OSError("AP required" if serves else "STA required")

    def _has_address(self):
        return True if self._serves else _net.sta_ip is not None

    def active(self, *args):
        if args:
            self._activate(bool(args[0]))
        return _net.ap_active if self._serves else _net.sta_active

    def isconnected(self):
        if self._serves:
            return _net.ap_active and _net.stations() > 0
        return _sta._step in (4, 5)  # also when the lease has run out: the port does not notice

    def config(self, *args, **kwargs):
        if args and kwargs:
            raise TypeError("either pos or kw args are allowed")
        if kwargs:
            return self._configure(kwargs)
        if len(args) != 1:
            raise TypeError("can query only one param")
        return self._query(args[0])

    def _query(self, key):
        if key == "mac":
            return _MAC[:5] + bytes([(_MAC[5] + self._serves) & 255])
        if key in ("ssid", "essid"):
            return self._ssid
        if key == "channel":
            return _channel()
        if key in ("hostname", "dhcp_hostname"):
            self._require(False)
            return _hostname
        if key == "reconnects":
            self._require(False)
            return self._reconnects - 1
        if key in ("hidden", "security", "authmode", "max_clients"):
            if key != "max_clients":
                self._require(True)
            return {
                "hidden": _ap._hidden,
                "max_clients": _ap._max_clients,
            }.get(key, _ap._security)
        if key == "txpower":
            return 20.0
        if key == "pm":
            return self._pm
        raise ValueError("unknown config param")

    def _configure(self, kwargs):
        new = {}
        for key, value in kwargs.items():
            if key in ("ssid", "essid"):
                self._require(True)
                new["ssid"] = _bytes(value)[:32]
            elif key in ("security", "authmode"):
                self._require(True)
                new["security"] = value
            elif key in ("key", "password"):
                self._require(True)
                new["key"] = _bytes(value)[:63]
            elif key == "hidden":
                self._require(True)
                new["hidden"] = bool(value)
            elif key == "max_clients":
                self._require(True)
                new["max_clients"] = value
            elif key == "channel":
                new["channel"] = value
            elif key == "reconnects":
                self._require(False)
                new["reconnects"] = 0 if value == -1 else value + 1
            elif key in ("hostname", "dhcp_hostname"):
                hostname(value)
            elif key == "pm":
                if value not in (0, 1, 2):
                    raise _invalid_argument()
                self._pm = value
            elif key == "txpower":
                if not 2 <= value <= 21:
                    raise _invalid_argument()
            elif key not in ("mac", "bandwidth", "protocol"):
                raise ValueError("unknown config param")
        self._apply(new)


def _bytes(value):
    return value.encode() if isinstance(value, str) else bytes(value)


class _Station(WLAN):
    _serves = False
    _netmask = "255.255.255.0"
    _gateway = _dns = "192.168.1.1"
    _ssid = ""
    _key = ""
    _ip = "0.0.0.0"
    _reconnects = 0  # as the port keeps it: 0 = for ever, else tries
    _tries = 0
    _wanted = False
    _reason = 0
    _step = (
        0  # 0 at rest, 1 searching or refused, 2 joining, 3 asking for an address, 4 up, 5 AP lost
    )
    _due = 0
    _outcome = 0
    _pm = 1
    _chan = 0
    _rssi = 0

    def _activate(self, on):
        if on == _net.sta_active:
            return
        _net.sta_active = on
        self._tries = 0
        if not on:
            self._leave(8)
            self._wanted = False
        _emit(ev="sta", active=on)

    def _apply(self, new):
        if "reconnects" in new:
            self._reconnects = new["reconnects"]
        if "channel" in new and not 1 <= new["channel"] <= 14:
            raise _invalid_argument()

    def connect(self, *args, bssid=None):
        if len(args) > 2:
            raise TypeError("extra positional arguments given")
        if args or bssid:
            if bssid is not None and len(bssid) != 6:
                raise ValueError
            self._ssid = _bytes(args[0] or "")[:32].decode() if args else ""
            self._key = _bytes(args[1] or "")[:64].decode() if len(args) > 1 else ""
        if not _net.sta_active:
            raise OSError("Wifi Invalid Mode" if _net.ap_active else "Wifi Not Started")
        if 0 < len(self._key) < 8:
            raise OSError("Wifi Invalid Password")
        if not self._ssid:
            raise OSError("Wifi SSID Invalid")
        if self._step in (1, 2, 3):
            raise OSError("Wifi Internal Error")  # the port's ESP_ERR_WIFI_CONN: still trying
        if self._step:
            self._leave(8)
        self._tries = 0
        self._wanted = True
        _emit(ev="sta", connecting=self._ssid)
        self._try()

    def disconnect(self):
        if not _net.sta_active:
            raise OSError("Wifi Not Started")
        self._wanted = False
        self._leave(8)

    def _leave(self, reason):
        if _net.sta_ip:
            _net.sta_ip = None
            _net.sta_epoch += 1
            _emit(ev="sta", ip=None, reason=reason)
        if self._step:
            self._reason = reason
        self._step = 0

    def _try(self):
        self._step = 1
        self._outcome = 201
        wait = _SEARCH_MS
        best = -200
        if _net.wifi_in_the_air():
            name, key = _hex(self._ssid), _hex(self._key)
            for words in _net.world("net", name):
                # net <ssid> <key> <security> <channel> <rssi> <bssid> <hidden> <wrong key reason>
                if int(words[3]) <= best:
                    continue
                best = int(words[3])
                self._rssi = best
                self._chan = int(words[2])
                if words[1] == "0" or words[0] == key:
                    self._outcome = 0
                    self._step = 2
                    wait = _JOIN_MS
                elif key == "-":
                    self._outcome = 210
                else:
                    self._outcome = int(words[6])
                    wait = _REFUSE_MS
        self._due = _utime.ticks_add(_utime.ticks_ms(), wait)

    def _watch(self):
        step = self._step
        if step == 0:
            return
        now = _utime.ticks_ms()
        if step == 4:
            if not _net.wifi_in_the_air():
                self._step = 5
                self._due = _utime.ticks_add(now, _BEACON_TIMEOUT_MS)
            elif _net.sta_ip and not _net.dhcp_answers():
                self._unlease()
                self._ask(now)
            elif not _net.sta_ip and _utime.ticks_diff(now, self._due) >= 0:
                self._take_lease(now)
            return
        if _utime.ticks_diff(now, self._due) < 0:
            return
        if step == 5:
            if _net.wifi_in_the_air():
                self._step = 4
                return
            self._outcome = 200
        if step == 2 and _net.wifi_in_the_air():
            self._step = 3
            self._ask(now)
            if _net.ap_active and _ap._chan != self._chan:
                _ap._tell(moved=True)
            return
        if step == 3:
            if _net.wifi_in_the_air():
                self._take_lease(now)
                return
            self._outcome = 200
        self._lost(self._outcome or 201)

    def _take_lease(self, now):
        ip = self._leased("wifi", now)
        if ip:
            self._step = 4
            self._reason = 0
            self._ip = _net.sta_ip = ip
            _emit(ev="sta", ip=ip, ssid=self._ssid)

    def _unlease(self):
        _net.sta_ip = None
        _net.sta_epoch += 1
        _emit(ev="sta", ip=None)

    def _lost(self, reason):
        self._leave(reason)
        self._reason = reason
        _emit(ev="sta", lost=reason)
        if not self._wanted:
            return
        if self._reconnects:
            self._tries += 1
            if self._tries >= self._reconnects:
                return
        self._try()

    def status(self, *args):
        if args:
            if args[0] == "rssi":
                if self._step not in (3, 4):
                    raise OSError("Wifi Not Connected")
                return self._rssi
            if args[0] == "stations":
                self._require(True)
            raise ValueError("unknown status param")
        trying = self._wanted and (not self._reconnects or self._tries < self._reconnects)
        reason = self._reason
        if self._step in (4, 5):
            return STAT_GOT_IP
        if not _OLD:
            if reason in (201, 202, 210, 211, 212):
                return reason
            if reason == 205:
                return 202
            if reason == 8:
                return STAT_IDLE
        if trying:
            return STAT_CONNECTING
        return reason or STAT_IDLE

    def scan(self):
        if not _net.sta_active:
            raise OSError("STA must be active")
        left = _SCAN_MS
        while left > 0:
            _clock.nap(20)
            left -= 20
        found = []
        if not _net.wifi_in_the_air():
            return found
        for words in _net.world("net"):
            hidden = words[6] == "1"
            ssid = b"" if hidden else _unhex(words[0])
            found.append(
                (
                    ssid,
                    bytes.fromhex(words[5]),
                    int(words[3]),
                    int(words[4]),
                    int(words[2]),
                    False,
                )
            )
        found.sort(key=lambda n: -n[3])
        return found


def _hex(text):
    return text.encode().hex() or "-"


def _unhex(word):
    return b"" if word == "-" else bytes.fromhex(word)


class _AccessPoint(WLAN):
    _serves = True
    _ip = _gateway = "192.168.4.1"
    _netmask = "255.255.255.0"
    _dns = "0.0.0.0"
    _ssid = "ESP_%02X%02X%02X" % (_MAC[3], _MAC[4], (_MAC[5] + 1) & 255)
    _key = b""
    _security = 0
    _chan = 1
    _hidden = False
    _max_clients = 4
    _pm = 1

    def _activate(self, on):
        if on == _net.ap_active:
            return
        _net.ap_active = on
        if not on:
            _net.ap_epoch += 1
        if _net.on_ap_change:
            _net.on_ap_change()
        self._tell()

    def _tell(self, moved=False):
        _emit(
            ev="ap",
            active=_net.ap_active,
            ssid=self._ssid,
            key=self._key.decode(),
            security=self._security,
            hidden=self._hidden,
            channel=_channel(),
            max_clients=self._max_clients,
            ip=self._ip,
            moved=moved,
        )

    def _apply(self, new):
        security = new.get("security", self._security)
        key = new.get("key", self._key)
        if security not in (0, 2, 3, 4, 6, 7):
            raise _invalid_argument()  # the access point knows no WEP, enterprise ...
        if (key or security) and len(key) < 8:
            raise OSError("Wifi Invalid Password")
        if not 1 <= new.get("channel", 1) <= 13 or not 1 <= new.get("max_clients", 4) <= 10:
            raise _invalid_argument()
        self._security = security
        self._key = key
        if "ssid" in new:
            self._ssid = new["ssid"].decode()
        self._chan = new.get("channel", self._chan)
        self._hidden = new.get("hidden", self._hidden)
        self._max_clients = new.get("max_clients", self._max_clients)
        if _net.ap_active:
            self._tell()

    def _set(self, ip, netmask, gateway, dns):
        _Interface._set(self, ip, netmask, gateway, dns)
        _net.ap_ip = ip
        if _net.on_ap_change:
            _net.on_ap_change()
        self._tell()

    def connect(self, *args, bssid=None):
        raise OSError("Wifi Invalid Mode" if not _net.sta_active else "STA required")

    def disconnect(self):
        self._require(False)

    def status(self, *args):
        if not args:
            return None
        if args[0] == "stations":
            found = [bytes([2, 0, 0, 0, 0, 2 + i]) for i in range(_net.stations())]
            if _OLD:
                return [(mac,) for mac in found]
            start = self._ip.rsplit(".", 1)[0]
            return [(mac, "%s.%d" % (start, mac[5])) for mac in found]
        if args[0] == "rssi":
            self._require(False)
        raise ValueError("unknown status param")

    def scan(self):
        return _sta.scan()


def _channel():
    # One radio: the access point follows the station.
    return _sta._chan if _sta._step >= 3 else _ap._chan


_sta = object.__new__(_Station)
_ap = object.__new__(_AccessPoint)


class _Lan(_Interface):
    _serves = False
    _ip = "0.0.0.0"
    _netmask = "255.255.255.0"
    _gateway = _dns = "192.168.1.1"
    _on = False
    _state = 0
    _due = 0

    def _has_address(self):
        return _net.lan_ip is not None

    def active(self, *args):
        if args and bool(args[0]) != self._on:
            self._on = bool(args[0])
            if not self._on:
                self._down(ETH_STOPPED)
            else:
                self._state = ETH_STARTED
                self._due = _utime.ticks_add(_utime.ticks_ms(), _AUTONEGOTIATE_MS)
            _emit(ev="lan", active=self._on)
        return self._on

    def _down(self, state):
        self._state = state
        if _net.lan_ip:
            _net.lan_ip = None
            _net.lan_epoch += 1
            _emit(ev="lan", ip=None)

    def _watch(self):
        if not self._on:
            return
        now = _utime.ticks_ms()
        if not _net.cable_is_in():
            if self._state in (ETH_CONNECTED, ETH_GOT_IP):
                self._down(ETH_DISCONNECTED)
            self._due = _utime.ticks_add(now, _AUTONEGOTIATE_MS)
        elif _utime.ticks_diff(now, self._due) >= 0:
            if self._state in (ETH_STARTED, ETH_DISCONNECTED):
                self._state = ETH_CONNECTED
                self._ask(now)
            elif not _net.lan_ip:
                ip = self._leased("lan", now)
                if ip:
                    self._state = ETH_GOT_IP
                    self._ip = _net.lan_ip = ip
                    _emit(ev="lan", ip=ip)
        if _net.lan_ip and not _net.dhcp_answers():
            _net.lan_ip = None  # and the state stays
            _net.lan_epoch += 1
            _emit(ev="lan", ip=None)
            self._ask(now)

    def isconnected(self):
        return self._on and self._state == ETH_GOT_IP

    def status(self):
        return self._state

    def config(self, *args, **kwargs):
        if args and kwargs:
            raise TypeError("either pos or kw args are allowed")
        if kwargs:
            if "mac" in kwargs and len(kwargs["mac"]) != 6:
                raise ValueError("invalid buffer length")
            return None
        if len(args) != 1:
            raise TypeError("can query only one param")
        if args[0] != "mac":
            raise ValueError("unknown config param")
        return _MAC[:5] + bytes([(_MAC[5] + 3) & 255])


_lan = None


def _LAN(
    id=None,
    *,
    phy_addr,
    phy_type,
    mdc=None,
    mdio=None,
    reset=None,
    power=None,
    spi=None,
    cs=None,
    int=None,
    ref_clk_mode=-1,
    ref_clk=None,
):
    global _lan
    if _lan:
        return _lan
    if id:
        raise ValueError("invalid LAN interface identifier")
    if not 0 <= phy_addr <= 0x1F:
        raise ValueError("invalid phy address")
    if not 0 <= phy_type <= 6:
        raise ValueError("invalid phy type")
    if mdc is None or mdio is None:
        raise ValueError("mdc and mdio must be specified")
    if power is not None:
        _clock.nap(20)
    _lan = object.__new__(_Lan)
    return _lan


def _watch():
    _sta._watch()
    if _lan:
        _lan._watch()


if _config.get("chip", "esp32") == "esp32":
    LAN = _LAN
else:
    del PHY_LAN8710, PHY_LAN8720, PHY_IP101, PHY_RTL8201, PHY_DP83848, PHY_KSZ8041, PHY_KSZ8081
    del ETH_INITIALIZED, ETH_STARTED, ETH_STOPPED, ETH_CONNECTED, ETH_DISCONNECTED, ETH_GOT_IP
_clock.watch(_watch)
