"""What the board refuses, the simulated board refuses, in the same words and numbers."""

from __future__ import annotations

import asyncio
import json

import pytest
from conftest import SteadyPlant

from sim.air import Air
from sim.device import SimulatedDevice

ASKED = """
import esp32, json, machine, network, os, select, socket, sys, time
from machine import ADC, Pin, WDT
AP, STA = network.WLAN.IF_AP, network.WLAN.IF_STA
ap, sta = network.WLAN(AP), network.WLAN(STA)

def ask(name, f):
    try:
        answer = f()
    except BaseException as e:
        answer = type(e).__name__ + ": " + ", ".join(str(a) for a in e.args)
    if isinstance(answer, tuple):
        answer = list(answer)
    print(json.dumps({name: answer}))

ask("connect while inactive", lambda: sta.connect("Hallonstigen 7", "smultron-och-mjolk"))
ask("set address while inactive", lambda: ap.ipconfig(addr4="192.168.251.1/24"))
ask("set ifconfig while inactive", lambda: sta.ifconfig(("1.2.3.4", "255.0.0.0") * 2))
ask("scan while inactive", lambda: sta.scan())
ask("third interface", lambda: network.WLAN(2))
ask("interface by keyword", lambda: network.WLAN(interface_id=0))
ask("adc2 without wifi", lambda: ADC(Pin(4), atten=ADC.ATTN_11DB).read() >= 0)
ask("short key", lambda: ap.config(ssid="x", key="1234567", security=3))
ask("security without key", lambda: ap.config(ssid="x", security=3))
ask("wep", lambda: ap.config(ssid="x", key="12345678", security=1))
ask("unknown config", lambda: ap.config(color="blue"))
ask("unknown query", lambda: ap.config("color"))
ask("reconnects of the access point", lambda: ap.config(reconnects=3))
ask("ssid of the station", lambda: sta.config(ssid="x"))
ask("channel 15", lambda: ap.config(channel=15))
ask("security by default", lambda: (ap.config(ssid="y", key="12345678"), ap.config("security"))[1])
ask("a long ssid", lambda: (ap.config(ssid="z" * 40), ap.config("ssid"))[1])
ask("key query", lambda: ap.config("key"))
ask("the access point's status", lambda: ap.status())
ask("status", lambda: sta.status())
ask("unknown status", lambda: sta.status("noise"))
sta.active(True)
ask("adc2 with wifi", lambda: ADC(Pin(4), atten=ADC.ATTN_11DB).read())
ask("adc1 with wifi", lambda: ADC(Pin(36), atten=ADC.ATTN_11DB).read())
ask("rssi unconnected", lambda: sta.status("rssi"))
ask("stations of the station", lambda: sta.status("stations"))
ask("short password", lambda: sta.connect("Hallonstigen 7", "1234567"))
ask("connect by keyword", lambda: sta.connect(ssid="x"))
ask("connect with three", lambda: sta.connect("x", "12345678", "y"))
ask("unknown ipconfig", lambda: sta.ipconfig("addr5"))
ask("ifconfig", lambda: sta.ifconfig())
ask("hostname", lambda: network.hostname("n" * 33))
ask("no adc pin", lambda: ADC(Pin(5)))
ask("no pin", lambda: Pin(24))
ask("input only", lambda: Pin(36, Pin.OUT))
ask("attenuation", lambda: ADC(Pin(36), atten=4))
ask("adc keyword", lambda: ADC(Pin(36), attn=3))
ask("u16", lambda: ADC(Pin(39), atten=3).read_u16())
def after_deinit():
    adc = ADC(Pin(39))
    adc.deinit()
    return adc.read_u16()
ask("read after deinit", after_deinit)
ask("lan without type", lambda: network.LAN(mdc=Pin(23), mdio=Pin(18), phy_addr=1))
ask("lan type", lambda: network.LAN(mdc=Pin(23), mdio=Pin(18), phy_addr=1, phy_type=77))
ask("lan address", lambda: network.LAN(mdc=Pin(23), mdio=Pin(18), phy_addr=32, phy_type=1))
ask("lan pins", lambda: network.LAN(phy_addr=1, phy_type=1))
ask("lan keyword", lambda: network.LAN(phy_addr=1, phy_type=1, speed=100))
ask("wdt id", lambda: WDT(id=1))
ask("wdt timeout", lambda: WDT(timeout=0))
ask("wdt stop", lambda: WDT(timeout=100000).stop())
ask("wdt deinit", lambda: WDT(timeout=100000).deinit())
nvs = esp32.NVS("ampguard")
ask("nvs missing", lambda: nvs.get_i32("boots"))
ask("nvs key", lambda: nvs.set_i32("k" * 16, 1))
ask("nvs namespace", lambda: esp32.NVS("n" * 16))
ask("nvs large", lambda: nvs.set_i32("k", 1 << 31))
ask("nvs", lambda: (nvs.set_i32("k", -5), nvs.commit(), nvs.get_i32("k"))[2])
ask("nvs other kind", lambda: nvs.get_blob("k", bytearray(4)))
ask("nvs blob", lambda: (nvs.set_blob("b", b"abc"), nvs.get_blob("b", bytearray(8)))[1])
ask("nvs small buffer", lambda: nvs.get_blob("b", bytearray(2)))
ask("nvs erase", lambda: nvs.erase_key("nothing"))
ask("rollback", lambda: esp32.Partition.mark_app_valid_cancel_rollback())
ask("mac", lambda: machine.unique_id().hex())
ask("freq", lambda: machine.freq(17))
ask("uname", lambda: os.uname().sysname)
ask("environment", lambda: os.getenv("HOME"))
ask("no shell", lambda: os.system("true"))
ask("epoch", lambda: time.gmtime(0))
ask("time", lambda: time.time() < 60)
ask("mktime", lambda: time.mktime((2026, 1, 2, 3, 4, 5, 0, 0)))
ask("ticks_diff", lambda: time.ticks_diff(5, time.ticks_add(0, -5)))
ask("ticks_add", lambda: time.ticks_add(0, 1 << 29))
ask("ticks", lambda: 0 <= time.ticks_us() < 1 << 30 and 0 <= time.ticks_ms() < 1 << 30)
ask("name without a link", lambda: socket.getaddrinfo("broker.lan", 1883))
ask("number without a link", lambda: socket.getaddrinfo("1.2.3.4", 80)[0][-1])
ask("packed address", lambda: socket.socket().connect(b"\\x02\\x00"))
ask("connect without a link", lambda: socket.socket().connect(("192.168.1.10", 1883)))
ask("read unconnected", lambda: socket.socket().recv(1))
ask("bind without access point", lambda: socket.socket().bind(("192.168.251.1", 80)))
ask("socket keyword", lambda: socket.socket(type=2))
ask("sockets", lambda: len([socket.socket() for _ in range(40)]))
"""

ANSWERS = {
    "connect while inactive": "OSError: Wifi Not Started",
    "set address while inactive": "OSError: Wifi Not Started",
    "set ifconfig while inactive": "OSError: Wifi Not Started",
    "scan while inactive": "OSError: STA must be active",
    "third interface": "ValueError: invalid WLAN interface identifier",
    "interface by keyword": "TypeError: ",
    "adc2 without wifi": True,
    "short key": "OSError: Wifi Invalid Password",
    "security without key": "OSError: Wifi Invalid Password",
    "wep": "RuntimeError: Wifi Unknown Error 0x0102",
    "unknown config": "ValueError: unknown config param",
    "unknown query": "ValueError: unknown config param",
    "reconnects of the access point": "OSError: STA required",
    "ssid of the station": "OSError: AP required",
    "channel 15": "RuntimeError: Wifi Unknown Error 0x0102",
    "security by default": 0,  # a key alone leaves the access point open
    "a long ssid": "z" * 32,
    "key query": "ValueError: unknown config param",
    "the access point's status": None,
    "status": 1000,
    "unknown status": "ValueError: unknown status param",
    "adc2 with wifi": "OSError: -259",
    "adc1 with wifi": 1000,
    "rssi unconnected": "OSError: Wifi Not Connected",
    "stations of the station": "OSError: AP required",
    "short password": "OSError: Wifi Invalid Password",
    "connect by keyword": "TypeError: ",
    "connect with three": "TypeError: ",
    "unknown ipconfig": "ValueError: unexpected key",
    "ifconfig": ["0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0"],
    "hostname": "ValueError: ",
    "no adc pin": "ValueError: invalid pin",
    "no pin": "ValueError: invalid pin",
    "input only": "ValueError: pin can only be input",
    "attenuation": "ValueError: invalid attenuation",
    "adc keyword": "TypeError: ",
    "read after deinit": "OSError: 1",
    "u16": 1100 << 4 | 1100 >> 8,
    "lan without type": "TypeError: ",
    "lan type": "ValueError: invalid phy type",
    "lan address": "ValueError: invalid phy address",
    "lan pins": "ValueError: mdc and mdio must be specified",
    "lan keyword": "TypeError: ",
    "wdt id": "ValueError: ",
    "wdt timeout": "ValueError: WDT timeout too short",
    "wdt stop": "AttributeError: ",
    "wdt deinit": "AttributeError: ",
    "nvs missing": "OSError: -4354",
    "nvs key": "OSError: -4361",
    "nvs namespace": "OSError: -4358",
    "nvs large": "OverflowError: ",
    "nvs": -5,
    "nvs other kind": "OSError: -4354",
    "nvs blob": 3,
    "nvs small buffer": "OSError: -4364",
    "nvs erase": "OSError: -4354",
    "rollback": "OSError: -261",
    "mac": "3c8a1f5e2b40",
    "freq": "ValueError: frequency must be",
    "uname": "esp32",
    "environment": "AttributeError: ",
    "no shell": "AttributeError: ",
    "epoch": [2000, 1, 1, 0, 0, 0, 5, 1],
    "time": True,
    "mktime": 820638245,
    "ticks_diff": 10,
    "ticks_add": "OverflowError: ticks interval overflow",
    "ticks": True,
    "name without a link": "OSError: -202",
    "number without a link": ["1.2.3.4", 80],
    "packed address": "TypeError: ",
    "connect without a link": "OSError: 113",
    "read unconnected": "OSError: 107",
    "bind without access point": "OSError: 125",
    "socket keyword": "TypeError: ",
    "sockets": "OSError: 23",
}


@pytest.fixture(scope="module")
def answers(image, tmp_path_factory) -> dict[str, object]:
    """What the board says to everything asked above, in one run for all the tests here."""

    async def run() -> dict[str, object]:
        flash = tmp_path_factory.mktemp("refusals") / "flash"
        files = {"boot.py": "", "main.py": ASKED}
        async with SimulatedDevice(
            flash, Air(), SteadyPlant(), image=image, files=files
        ) as device:
            await device.until("repl")
            await asyncio.sleep(0.05)
            found: dict[str, object] = {}
            for line in device.console:
                if line.startswith("{"):
                    found |= json.loads(line)
            return found

    return asyncio.run(run())


@pytest.mark.parametrize("asked", ANSWERS)
def test_the_board_answers_as_the_real_one(answers, asked: str) -> None:
    expected = ANSWERS[asked]
    if isinstance(expected, str) and ": " in expected:
        assert str(answers[asked]).startswith(expected)
    else:
        assert answers[asked] == expected
