# The portal on a stage of cardboard, run by CPython and by MicroPython alike:
#     <interpreter> provisioning_stage.py PORT FOLDER
# The link it plays needs half a second for everything; "smultron-och-mjolk" is the right password.
# Says "ready", then twice a second "heap <bytes in use> <clients>" where the heap can be read.
import gc

if hasattr(gc, "threshold"):
    gc.threshold(4096)  # as main.py

import asyncio
import json
import os
import sys
import time

import cloud.wire  # noqa: F401 (there anyway: the uplink's)
from provisioning.routes import Routes, answer
from provisioning.web import Server

PROVIDER = {"host": "broker.lan", "port": 1883, "tls": False}
CA = sys.argv[2] + "/ca.der"


class Link:
    def __init__(self, settings):
        self._settings = settings
        self._ending = None
        self.reset()

    def reset(self):
        if self._ending:
            self._ending.cancel()
        self._ending = None
        self._settings.wifi_ssid = None
        self.interface = self.ip = self.trial_ssid = None
        self.trial = ("idle", None, None)
        self.scan_results = [
            ("Hallonstigen 7", -48, True),
            ("Cafe", -60, False),
            ("<script>alert('1')</script>", -66, True),
        ] + [("Net " + str(n), -70 - n, True) for n in range(17)]
        self.scans = 0
        self.rssi = None

    def forget_wifi(self):
        self.reset()

    def macs(self):
        return [("Wi-Fi", "3c:8a:1f:5e:2b:40"), ("LAN", "3c:8a:1f:5e:2b:43")]

    def try_wifi(self, ssid, password):
        self.trial_ssid = ssid
        self.trial = ("connecting", None, None)
        self._ending = asyncio.create_task(self._end(ssid, password))

    async def _end(self, ssid, password):
        await asyncio.sleep(0.5)
        if password == "smultron-och-mjolk":
            self._settings.wifi_ssid = ssid
            self.interface, self.ip = "wifi", "192.168.1.57"
            self.trial = ("online", None, self.ip)
        elif ssid == "Borta":
            self.trial = ("failed", "not_found", None)
        else:
            self.trial = ("failed", "wrong_password", None)

    def request_scan(self):
        self.scans += 1
        self.scan_results.append(("Scan " + str(self.scans), -50, False))


class Bag:
    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)


class Settings(Bag):
    def update(self, **changes):
        for name, value in changes.items():
            setattr(self, name, value)


class Uplink:
    def __init__(self):
        self.state = "failed: broker.lan <refused>"
        self.fault = "refused"
        self.goodbye = None

    def stop(self, reason):
        self.goodbye = reason


class Clock:
    # CPython has no ticks.
    def ticks_ms(self):
        return int(time.time() * 1000)

    def ticks_diff(self, end, start):
        return end - start


async def main(port):
    settings = Settings(wifi_ssid=None, wifi_password="hemligt-hemligt", provider=dict(PROVIDER))
    measurement = Bag(
        seq=7,
        ts_ms=None,
        i_ma=[16049, 10200, None],
        u_mv=[230100, 231000, None],
        p_mw=[3680000, -2290000, None],
        q_mvar=[0, 0, None],
        pf_milli=[990, -980, None],
        f_mhz=50010,
        cov_permille=1000,
        flags=["l3_missing"],
    )
    link = Link(settings)

    uplink = Uplink()
    restarts = []

    def reset(request):
        link.reset()
        settings.provider = dict(PROVIDER)
        uplink.__init__()
        del restarts[:]
        if "ca.der" in os.listdir(sys.argv[2]):
            os.remove(CA)
        return "as new"

    def told(request):
        return json.dumps({"provider": settings.provider, "restarts": len(restarts),
                           "goodbye": uplink.goodbye})  # fmt: skip

    def fault(request):
        uplink.fault = request.args["kind"]
        return "so be it"

    routes = Routes(
        link=link,
        identity=Bag(digits="42317", ssid="Amp Guard_42317", pin="K7M3XQ9A"),
        settings=settings,
        meter=Bag(last=measurement, wiring=Bag(state={"findings": []})),
        uplink=uplink,
        info=lambda: {
            "serial": "AG100042317G",
            "variant": "home",
            "range": 100,
            "firmware": "0.1.0",
            "image": "ESP32 1.29.0",
            "boot_count": 3,
            "reset_cause": "watchdog",
        },
        supervisor=Bag(uptime_s=93784),
        restart=lambda: restarts.append(1),
        ssl=None,
        ca_path=CA,
    )
    stage = {"/stage/reset": reset, "/stage/told": told, "/stage/fault": fault}

    def respond(request):
        made = stage.get(request.path)
        return answer(made(request), 200) if made else routes.respond(request)

    server = Server(respond, time if hasattr(time, "ticks_ms") else Clock(), routes.let_go)
    server.seconds_per_request = 1
    await server.start(("127.0.0.1", port))
    print("ready")
    while True:
        await asyncio.sleep(0.5)
        server.expire()
        if hasattr(gc, "mem_alloc"):
            gc.collect()
            print("heap", gc.mem_alloc(), len(server.connections))


asyncio.run(main(int(sys.argv[1])))
