# What is between the board and the rest of the world: which links are up, what lies behind them.
# network.py moves the links, socket.py and ntptime.py live by them; the air itself (air.bin and
# world.txt, see sim/air.py) belongs to the host.
import _clock
from _board import HOST, config
from micropython import const

_WIFI = const(8)
_LAN = const(9)
_INTERNET = const(10)
_DNS = const(11)
_NTP = const(13)
_STATIONS = const(14)
_DHCP = const(16)
_OFFSET = const(20)

UP = const(0)
REFUSED = const(1)
BLACKHOLE = const(2)

# Written by network.py. An epoch counts how often a link was lost: a socket remembers it.
sta_active = ap_active = False
sta_ip = lan_ip = None
ap_ip = "192.168.4.1"
sta_epoch = lan_epoch = ap_epoch = 0
on_ap_change = None

_air = _clock.air


def wifi_in_the_air():
    return _air[_WIFI]


def cable_is_in():
    return _air[_LAN]


def stations():
    return _air[_STATIONS]


def dhcp_answers():
    return not _air[_DHCP]


def internet():
    return _air[_INTERNET]


def dns_answers():
    return _air[_INTERNET] != BLACKHOLE and not _air[_DNS]


def ntp_answers():
    return (sta_ip or lan_ip) and _air[_INTERNET] == UP and not _air[_NTP]


def world_clock_offset():
    n = _air[_OFFSET] | _air[_OFFSET + 1] << 8 | _air[_OFFSET + 2] << 16
    return -n if _air[_OFFSET + 3] else n


def world(kind, *keys):
    # The lines of world.txt that start so, as lists of the words behind. No generator: one that
    # is left half-way leaves its file to the garbage collection, which lets another thread in to
    # close it, in the middle of the sweep (where threads share a lock).
    found = []
    path = config.get("world")
    if path:
        with HOST.open(path, "r") as f:
            while True:
                line = f.readline()
                if not line:
                    break
                words = line.split()
                if words and words[0] == kind and words[1 : 1 + len(keys)] == list(keys):
                    found.append(words[1 + len(keys) :])
    return found


def uplink():
    # (interface, epoch) that carries traffic to anywhere, as esp_netif's route priorities have
    # it: Wi-Fi before LAN. None: no route.
    if sta_ip:
        return ("sta", sta_epoch)
    if lan_ip:
        return ("lan", lan_epoch)
    if ap_active:
        return ("ap", ap_epoch)
    return None


def epoch(interface):
    if interface == "sta":
        return sta_epoch
    return lan_epoch if interface == "lan" else ap_epoch
