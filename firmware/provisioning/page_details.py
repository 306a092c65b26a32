"""The details page: what this device is and how it is, restart, forget the Wi-Fi."""

import asyncio
import gc

from micropython import const

from device.unloading import unload
from provisioning import rendering
from provisioning.routes import answer as reply
from provisioning.routes import from_own_page
from provisioning.words import escape

_LOG_LENGTH = const(1500)  # characters
_ANSWER_S = const(1)  # for the answer to reach the phone
_GOODBYE_S = const(5)  # for the broker's goodbye; the thread may sit in a DNS query for longer


def answer(site, request, name):
    if name == "details":
        return _page(site, request)
    if not from_own_page(request):
        return _page(site, request, 403, "err_other_origin")
    if name == "forget":
        try:
            agreed = (request.form or {}).get("sure") == "yes"
        except ValueError:
            agreed = False
        if not agreed:
            return _page(site, request, 400, "forget_sure")
        try:
            site.link.forget_wifi()
        except OSError:
            return _page(site, request, 400, "err_not_saved")
        return reply("", 303, {"Location": "/"})
    site.uplink.stop("restart")
    asyncio.create_task(_restart(site))
    words = site.words(request)
    values = {
        "page": "restart",
        "refresh": rendering.follow(20, "/"),
        "outcome": rendering.state(
            "wait", "", words["restarting_now"], words["restarting_hint"] % site.identity.ssid
        ),
    }
    return site.page(request, "status", words, values, here="details")


async def _restart(site):
    for _ in range(_GOODBYE_S):
        await asyncio.sleep(_ANSWER_S)
        if site.uplink.stopped:
            break
    site.restart()


def _page(site, request, status=200, fault=None):
    words = site.words(request)
    values = {
        "notes": rendering.note("bad", words[fault], "") if fault else "",
        "rows": _rows(site, words),
        "log": _log(site),
        "forgettable": "" if site.settings.wifi_ssid else " hidden",
    }
    return site.page(request, "details", words, values, status, here="details")


def _rows(site, words):
    info = site.info()
    link = site.link
    yield _row(words["details_serial"], info["serial"])
    yield _row(
        words["details_model"], "%s, 0–%d A" % (info["variant"][0].upper() + info["variant"][1:],
                                          info["range"])
    )  # fmt: skip
    yield _row(words["details_firmware"], info["firmware"])
    yield _row(words["details_image"], info["image"])
    if link.interface == "wifi":
        network = "Wi-Fi %s, %s" % (site.settings.wifi_ssid, link.ip)
    elif link.interface:
        network = "LAN, %s" % link.ip
    else:
        network = "–"
    yield _row(words["details_network"], network)
    if link.rssi is not None:
        yield _row(words["details_signal"], "%d dBm" % link.rssi)
    for name, mac in link.macs():
        yield _row("MAC %s" % name, mac)
    provider = site.settings.provider
    yield _row(
        words["details_provider"],
        "%s:%d, %s" % (provider["host"], provider["port"],
                       "TLS" if provider["tls"] else words["details_plain"]),
    )  # fmt: skip
    cloud, _, fault = site.uplink.state.partition(":")
    yield _row(words["details_cloud"], words["details_cloud_" + cloud])
    if fault:
        yield "<dd>%s</dd>" % rendering.cloud_note(words, site.uplink.fault, fault.strip())
    minutes = site.supervisor.uptime_s // 60
    yield _row(
        words["details_uptime"],
        words["details_days"] % (minutes // 1440, minutes // 60 % 24, minutes % 60),
    )
    cause = words["details_cause_" + info["reset_cause"]]
    yield _row(words["details_start"], "%d, %s" % (info["boot_count"], cause))
    health = info["health"]
    if health and health["crash"]:
        yield "<dd>%s</dd>" % escape(health["crash"])
    if hasattr(gc, "mem_free"):
        gc.collect()
        yield _row(words["details_memory"], "%d kB" % (gc.mem_free() // 1024))


def _log(site):
    """The last lines, oldest first."""
    from device import log_lines  # noqa: PLC0415 (only here)

    lines = log_lines.last(site.log, _LOG_LENGTH)
    unload("device.log_lines")
    for line in lines:
        yield escape(line) + "\n"


def _row(name, value):
    return "<dt>%s</dt><dd>%s</dd>\n" % (name, escape(value))
