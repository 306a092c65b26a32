"""The networks around, as a page lists them. Loaded for a search: it stops everything else anyway.

In: the station's interface. Out: (ssid, rssi, secured), strongest first, each name once. Hidden
networks and names that are not UTF-8 (nobody could type them) are left out.
"""

from micropython import const

_MAX_NETWORKS = const(20)


def networks(nic):
    """Blocks the caller for 2 to 3 s. OSError, RuntimeError: the driver can't at the moment."""
    best: dict = {}
    for raw, _, _, rssi, security, _ in nic.scan():
        try:
            ssid = raw.decode()
        except ValueError:
            continue
        if ssid and (ssid not in best or best[ssid][1] < rssi):
            best[ssid] = (ssid, rssi, security != 0)
    return sorted(best.values(), key=lambda network: -network[1])[:_MAX_NETWORKS]
