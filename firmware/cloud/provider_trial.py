"""A provider is tried before it is saved: the uplink calls it in place of the one there is, which
stays unless the new one admits the device and takes its messages.

In: a provider, the path of the CA certificate that waits for it. Out: the uplink's `trial`, while
it lasts and after it failed: provider, ca_path, state ("connecting", "online" as the uplink says,
"failed" when it is over), fault (a kind of cloud.faults', the uplink's; "not_saved") and words.
Loaded by the portal's page for a trial.
"""

import asyncio
import os

from micropython import const

from cloud import faults

_LOOK_S = 0.1
_LOOKS = const(450)  # a dead DNS server may hold the uplink's thread for longer


class Trial:
    """Without methods: it may outlive this module."""

    provider: dict
    ca_path: str
    state: str
    fault = words = None


def begin(uplink, settings, provider, ca_path, waiting):
    """`waiting`: the path of a certificate to be tried first, else or after it that at `ca_path`.
    Whatever answers is saved."""
    trial = Trial()
    trial.provider = provider
    trial.ca_path = waiting or ca_path
    trial.state = "connecting"
    uplink.trial = trial
    asyncio.create_task(_follow(uplink, settings, trial, ca_path))


def save(settings, provider, ca_path, waiting):
    """OSError: the flash is full."""
    settings.update(provider=provider)
    if waiting:
        os.rename(waiting, ca_path)


async def _follow(uplink, settings, trial, ca_path):
    looks = 0
    refused = None  # a certificate that has waited in vain
    while uplink.trial is trial:
        waiting = trial.ca_path if trial.ca_path != ca_path else None
        try:
            if trial.state == "online":  # as the uplink says
                save(settings, trial.provider, ca_path, waiting)
                if refused:
                    os.remove(refused)
                uplink.trial = None
                return
        except OSError:
            trial.words = ""
            trial.fault = "not_saved"
        except MemoryError:
            pass  # at the next look
        if looks == _LOOKS and not trial.fault:
            trial.words = "no answer in time"
            trial.fault = faults.SILENT
        if trial.fault == faults.TLS and waiting:
            refused = waiting
            trial.ca_path = ca_path  # does the one there is fit?
            trial.fault = None
        elif trial.fault:
            trial.state = "failed"
            return
        looks += 1
        await asyncio.sleep(_LOOK_S)
