# The portal on a stage of cardboard, run by CPython and by MicroPython alike:
#     <interpreter> provisioning_stage.py PORT FOLDER
# The link it plays needs half a second for everything; "smultron-och-mjolk" is the right password.
# Says "ready", then twice a second "heap <bytes in use> <clients>" where the heap can be read, and
# "asked <clients>" when another number of them has begun to ask.
import gc

if hasattr(gc, "threshold"):
    gc.threshold(4096)  # as main.py

import asyncio
import json
import os
import sys
import time

import cloud.faults  # noqa: F401 (there anyway: the uplink's)
from device import settings as settings_module
from device.log import Log
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
            self.trial = ("failed", "not_found", self.ip)
        else:
            self.trial = ("failed", "wrong_password", self.ip)

    def request_scan(self):
        self.scans += 1
        self.scan_results.append(("Scan " + str(self.scans), -50, False))


class Bag:
    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)


class Settings(Bag):
    def update(self, **changes):
        checked.update(**changes)  # refuses what the device would
        for name, value in changes.items():
            setattr(self, name, value)


checked = settings_module.Settings(sys.argv[2] + "/settings")


class Uplink:
    def __init__(self):
        self.state = "failed: broker.lan <refused>"
        self.fault = "refused"
        self.goodbye = None
        self.stopped = False
        self.reports = 0
        self.trial = None
        self.outcome = None  # of the next trial: "online", or a kind of fault; None = it lasts
        self.tried = []  # (host, certificate) of each attempt

    def step(self):
        trial = self.trial
        if trial and trial.state == "connecting" and not trial.fault and self.outcome:
            kept = trial.ca_path.split("/")[-1]
            self.tried.append((trial.provider["host"], kept))
            if self.outcome == "online" or (self.outcome == "old" and kept == "ca.der"):
                trial.state = "online"
            else:
                trial.words = "<said so>"
                trial.fault = "tls" if self.outcome == "old" else self.outcome

    def stop(self, reason):
        self.goodbye = reason
        self.stopped = True

    def report(self):
        self.reports += 1


class Clock:
    # CPython has no ticks.
    def ticks_ms(self):
        return int(time.time() * 1000)

    def ticks_diff(self, end, start):
        return end - start


async def main(port):
    settings = Settings(wifi_ssid=None, wifi_password="hemligt-hemligt", provider=dict(PROVIDER),
                        wiring=None, phases=3)  # fmt: skip
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
        flags=["estimated_l3"],
    )
    wiring = Bag()

    def find(clamps=None, findings=(), settled=False):
        words = [key for key, _ in findings] if settled else None
        wiring.state = {"clamps": clamps, "confidence": 0.9, "sequence": "123", "findings": words}
        wiring.findings = list(findings)

    find()
    link = Link(settings)
    kept = Log(Bag(ticks_ms=lambda: 12345), lambda line: None)
    for number in range(40):
        kept.info("link", f"line {number} <b>")

    uplink = Uplink()
    restarts = []

    def reset(request):
        server.seconds_per_request, server.seconds_per_half = 1, 0.4
        link.reset()
        settings.provider = dict(PROVIDER)
        settings.wiring, settings.phases = None, 3
        measurement.flags = ["estimated_l3"]
        find()
        uplink.__init__()
        del restarts[:]
        for name in os.listdir(sys.argv[2]):
            if name.startswith("ca.der"):
                os.remove(sys.argv[2] + "/" + name)
        return "as new"

    def told(request):
        return json.dumps({"provider": settings.provider, "restarts": len(restarts),
                           "goodbye": uplink.goodbye, "reports": uplink.reports,
                           "tried": uplink.tried,
                           "wiring": settings.wiring, "phases": settings.phases})  # fmt: skip

    def found(request):
        kind = request.args["kind"]
        if "flag" in request.args:
            measurement.flags = [request.args["flag"]]
        if kind == "moved":
            find(["L2", "-L1", None], [("moved", (1, "L2", "L1")),
                                       ("moved_reversed", (2, "L1", "L2"))], True)  # fmt: skip
        elif kind == "doubled":
            find(["L1", "L1", "L3"], [("doubled", (1, 2, "L1", 2, "L2"))], True)
        elif kind == "outflow":
            find(None, [("outflow", ()), ("sequence", ()), ("silent", (3, "L3"))], True)
        elif kind == "untold":
            find([None, None, None], [], True)
        else:
            find(["L1", "L2", "L3"], [], True)
        return "so be it"

    def fault(request):
        uplink.fault = request.args["kind"]
        return "so be it"

    def outcome(request):
        uplink.outcome = request.args["is"]
        return "so be it"

    def patience(request):
        server.seconds_per_request = int(request.args["request"])
        server.seconds_per_half = int(request.args["half"])
        return "so be it"

    routes = Routes(
        link=link,
        identity=Bag(
            digits="42317", ssid="Amp Guard_42317", pin="K7M3XQ9A", provider=dict(PROVIDER)
        ),
        settings=settings,
        meter=Bag(last=measurement, wiring=wiring),
        uplink=uplink,
        info=lambda: {
            "serial": "AG100042317G",
            "variant": "home",
            "range": 100,
            "phases": 3,
            "firmware": "0.1.0",
            "image": "ESP32 1.29.0",
            "boot_count": 3,
            "reset_cause": "crash",
            "health": {"crash": "boot 2, after 77 s: <MemoryError>"},
        },
        supervisor=Bag(uptime_s=93784),
        restart=lambda: restarts.append(1),
        log=kept,
        ssl=None,
        ca_path=CA,
    )
    stage = {"/stage/reset": reset, "/stage/told": told, "/stage/fault": fault,
             "/stage/outcome": outcome, "/stage/found": found,
             "/stage/patience": patience}  # fmt: skip

    def respond(request):
        made = stage.get(request.path)
        return answer(made(request), 200) if made else routes.respond(request)

    server = Server(respond, time if hasattr(time, "ticks_ms") else Clock(), routes.let_go)
    server.seconds_per_request, server.seconds_per_half = 1, 0.4
    await server.start(("127.0.0.1", port))
    print("ready")
    asked = 0
    while True:
        for _ in range(10):
            await asyncio.sleep(0.05)
            uplink.step()
            now = len([True for connection in server.connections if connection.asked])
            if now != asked:
                asked = now
                print("asked", asked)
        server.expire()
        if hasattr(gc, "mem_alloc"):
            gc.collect()
            print("heap", gc.mem_alloc(), len(server.connections))


asyncio.run(main(int(sys.argv[1])))
