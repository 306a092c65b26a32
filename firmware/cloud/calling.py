"""Calls the provider's broker, or a host with updates: the time, certificate, password it takes.

Out: a SafeClient that is connected, or a Wire, or a Fault. Loaded for an attempt, like dialing.py.
"""

import gc

from micropython import const

from cloud import faults, protocol
from cloud.dialing import dial, tls_context
from cloud.faults import Fault
from cloud.mqtt import SafeClient
from cloud.password import mqtt_password

_KEEPALIVE_S = const(8)  # the broker publishes the last will after one and a half of these


class Calling:
    """By the same rules to every host: `tls` with the CA of `ca_path` (DER) and the right time,
    plain text to private addresses only. `alive()` is called while waiting."""

    def __init__(self, *, clock, socket, ssl, time, ca_path, alive):
        self._clock = clock
        self._socket = socket
        self._ssl = ssl
        self._time = time
        self._ca_path = ca_path
        self._alive = alive

    def broker(self, provider, identity, topic, received):
        """A SafeClient whose last will goes to `topic`, with `received` for its buffer."""
        context = self._context(provider["tls"], provider["host"])
        client = SafeClient(
            "ampguard-" + identity.serial,
            host=provider["host"],
            port=provider["port"],
            user=identity.serial,
            password=mqtt_password(identity.pin, identity.serial),
            keepalive_s=_KEEPALIVE_S,
            context=context,
            socket=self._socket,
            time=self._time,
            received=received,
        )
        client.alive = self._alive
        client.set_last_will(topic, protocol.last_will_payload(), True, 1)
        client.connect()
        return client

    def host(self, tls, host, port):
        """A Wire."""
        context = self._context(tls, host)
        return dial(host, port, context, socket=self._socket, time=self._time, alive=self._alive)

    def _context(self, tls, host):
        """None for plain text."""
        _ask_time(self._clock, tls, host, self._alive)
        if not tls:
            return None
        gc.collect()  # lets go of an old connection's TLS memory, which is not on our heap
        return tls_context(self._ssl, _certificate(self._ca_path))


def _certificate(path):
    """The CA certificate (DER) to trust: what was laid at `path`, else the one that is bundled."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        from cloud import default_ca  # noqa: PLC0415 (it is large)

        return default_ca.der()


def _ask_time(clock, must, host, alive):
    """Certificates have dates: TLS (`must`) waits for the time, plain text only tries.
    Behind a firewall that lets no public time server through, the broker's host may be one."""
    if clock.is_set and clock.knows_servers:
        return
    if clock.due():
        clock.resolve(host)
        alive()
        if not clock.is_set:  # else it is asked once the measurements go on
            clock.sync()
            alive()
    if must and not clock.is_set:
        raise Fault(faults.SILENT, "the time is not known yet: " + clock.problem)
