"""Where the measurements go: the provider's broker, and the CA certificate it is known by.

Nothing is saved that could not work: names and numbers are checked, and plain text is only for an
address that no router forwards to the internet, or a name that means one in a building. (What the
name led to is looked at again before anything is sent, see cloud/dialing.py.) Then it is tried, a
new certificate with it, see cloud/provider_trial.py. Where that cannot be, or has failed, a tick
saves it all the same.
"""

import os

from device.unloading import unload
from provisioning import rendering
from provisioning.routes import answer as reply
from provisioning.routes import from_own_page
from provisioning.words import escape

_INSIDE = ("local", "lan", "home", "internal", "arpa")  # names that the internet does not have


def answer(site, request, name):
    if request.method != "POST":
        return _page(site, request)
    if not from_own_page(request):
        return _page(site, request, 403, "err_other_origin")
    typed = None
    try:
        if name == "ca":
            from provisioning import certificate  # noqa: PLC0415 (rarely needed)

            certificate.keep(request.body, site.ssl, site.ca_path + ".new")
            return reply("", 303, {"Location": "/provider?done=ca"})
        fields = request.form or {}
        typed = {
            "host": fields.get("host", "").strip(),
            "port": fields.get("port", "").strip(),
            "tls": fields.get("tls", "") == "yes",
        }
        provider = _checked(fields, **typed)
        if not _use(site, provider, fields.get("anyway", "") == "yes"):
            return _page(site, request, 400, "err_untried", typed)
    except ValueError as fault:
        words = str(fault)
        if not words.startswith("err_"):
            words = "err_unreadable_form"
        return _page(site, request, 400, words, typed)
    except OSError:
        return _page(site, request, 400, "err_not_saved", typed)
    finally:
        unload("provisioning.certificate", "cloud.dialing", "cloud.provider_trial")
    return reply("", 303, {"Location": "/status"})


def _use(site, provider, untried):
    """Saves it `untried` or begins its trial. False: that cannot be, there is no network."""
    from cloud import provider_trial  # noqa: PLC0415 (rarely needed)

    waiting = site.ca_path + ".new"
    if not provider["tls"] or not _exists(waiting):
        waiting = None
    known = provider == site.settings.provider and not waiting
    if untried or known:
        provider_trial.save(site.settings, provider, site.ca_path, waiting)
        site.uplink.trial = None
        site.uplink.report()  # no need to wait any longer
    elif site.link.interface:
        provider_trial.begin(site.uplink, site.settings, provider, site.ca_path, waiting)
    else:
        return False
    return True


def _checked(fields, host, port, tls):
    """The provider. ValueError holds the key of the words that say what is wrong."""
    if not 1 <= len(host) <= 253:
        raise ValueError("err_host_name")
    for letter in host:
        if not (letter.isalpha() or letter.isdigit() or letter in "-._") or letter > "~":
            raise ValueError("err_host_name")
    if not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise ValueError("err_port_number")
    from cloud.dialing import is_private  # noqa: PLC0415 (rarely needed)

    if tls:
        pass
    elif not is_private(host) and not ("." not in host or host.split(".")[-1] in _INSIDE):
        raise ValueError("err_public_host")
    elif fields.get("plain", "") != "yes":
        raise ValueError("err_plain_text")
    return {"host": host, "port": int(port[:6]), "tls": tls}


def _page(site, request, status=200, fault=None, typed=None):
    words = site.words(request)
    trial = site.uplink.trial
    provider = (
        typed
        or (trial and trial.provider)
        or site.settings.provider
        or {"host": "", "port": 8883, "tls": True}
    )
    known = _presets(site.identity)
    picked = request.args.get("pick", "")
    if picked.isdigit() and int(picked[:3]) < len(known):
        _, host, port, tls = known[int(picked[:3])]
        provider = {"host": host, "port": port, "tls": tls}
    notes = ""
    arrived = request.args.get("done") == "ca"
    if not (fault or picked or arrived) and trial and trial.state == "failed":
        fault = "nothing_changed"
    if fault in ("err_untried", "nothing_changed"):
        tick = '<label><input type="checkbox" name="anyway" value="yes">%s</label>'
        notes = rendering.note("warn", words[fault], tick % words["save_untried"])
    elif fault:
        notes = rendering.note("bad", words[fault], "")
    elif arrived:
        notes = rendering.note("good", words["certificate_saved"], "")
    values = {
        "notes": notes,
        "choices": _choices(known, words),
        "host": escape(provider["host"]),
        "port": escape(str(provider["port"])),
        "tls": " checked" if provider["tls"] else "",
        "has_certificate": words[
            "certificate_waits"
            if _exists(site.ca_path + ".new")
            else "certificate_there"
            if _exists(site.ca_path)
            else "certificate_missing"
        ],
    }
    return site.page(request, "provider", words, values, status, here="details")


def _presets(identity):
    from cloud import providers  # noqa: PLC0415 (only here)

    unload("cloud.providers")
    return providers.presets(identity)


def _choices(known, words):
    """Links that fill the form in; they work without script."""
    delivered = words["as_delivered"]
    links = []
    for number, preset in enumerate(known):
        name = delivered if preset[0] is None else escape(preset[0])
        links.append('<a href="/provider?pick=%d">%s</a>' % (number, name))
    return " · ".join(links)


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True
