"""IPv4 addresses of an interface on every supported image: `ipconfig` came with 1.24, 1.23 has
only `ifconfig`. This is the one place that knows."""

_NONE = "0.0.0.0"


def address(nic):
    """The interface's dotted address, or None while it has none."""
    ip = nic.ipconfig("addr4")[0] if hasattr(nic, "ipconfig") else nic.ifconfig()[0]
    return None if ip == _NONE else ip


def gateway(nic):
    """The router that DHCP named, or None."""
    ip = nic.ipconfig("gw4") if hasattr(nic, "ipconfig") else nic.ifconfig()[2]
    return None if ip == _NONE else ip


def set_gateway_address(nic, ip):
    """Makes `ip` the address of a /24 whose gateway (and, by DHCP, name server) is this device."""
    if hasattr(nic, "ipconfig"):
        nic.ipconfig(addr4=ip + "/24", gw4=ip)
    else:
        nic.ifconfig((ip, "255.255.255.0", ip, ip))
