"""The brokers that an installer can pick by name, instead of typing host and port. This is the one
place where they are written down; the page about the provider reads them while it is shown.

What is not in the list is typed. The provider a device was delivered for (/factory.json) comes
first.
"""

# name, host, port, TLS
_KNOWN = (
    ("Home Assistant", "homeassistant.local", 1883, False),
    ("evcc", "evcc.local", 1883, False),
)


def presets(identity):
    """[(name, host, port, tls), ...]; the name of the first is None: as delivered."""
    delivered = identity.provider
    if not delivered:
        return list(_KNOWN)
    return [(None, delivered["host"], delivered["port"], delivered["tls"])] + list(_KNOWN)
