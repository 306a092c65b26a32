"""The device's own Wi-Fi: `Amp Guard_<five digits>`, WPA2 with the PIN, 192.168.251.1.

In: open(), close(). Out: `active`, `clients` (is a phone here?).
"""

from micropython import const

from connectivity.addresses import set_gateway_address

ADDRESS = "192.168.251.1"

_MAX_CLIENTS = const(4)
_CHANNEL = const(6)  # until the station joins something: there is one radio, its channel wins
_SHORTEST_KEY = const(8)


class AccessPoint:
    def __init__(self, network, identity):
        self._network = network
        self._identity = identity
        self._nic = network.WLAN(network.WLAN.IF_AP)
        self.active = False

    @property
    def clients(self):
        """Is at least one station associated?"""
        return self.active and self._nic.isconnected()

    def open(self):
        """Never open to strangers, not for a beacon: everything is set, and read back, before the
        radio is switched on.

        active(True) starts to send at once with what the driver holds, by default an open network,
        so config() comes first. The ESP32 takes it while the interface is down (the order of
        MicroPython's quick reference); should an image refuse, its OSError leaves the access point
        closed. All in one call, since each call hands the whole configuration to the driver and
        a key without `security` means an open network. Raises OSError or ValueError.
        """
        wlan = self._network.WLAN
        if len(self._identity.pin) < _SHORTEST_KEY:
            raise ValueError("the PIN is too short for WPA2")
        nic = self._nic
        nic.config(
            ssid=self._identity.ssid,
            key=self._identity.pin,
            security=wlan.SEC_WPA2,
            channel=_CHANNEL,
            max_clients=_MAX_CLIENTS,
        )
        if nic.config("security") != wlan.SEC_WPA2 or nic.config("ssid") != self._identity.ssid:
            raise OSError("the driver did not take the configuration")
        nic.active(True)
        try:
            # Restarts the DHCP server; its default address would be 192.168.4.1.
            set_gateway_address(nic, ADDRESS)
        except (OSError, ValueError, MemoryError):
            nic.active(False)
            raise
        self.active = True

    def close(self):
        self._nic.active(False)
        self.active = False
