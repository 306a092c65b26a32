"""What a connection fails of. The uplink chooses its patience by it, the page its words."""

DNS = "dns"
REFUSED = "refused"  # the host answers, the port does not
SILENT = "silent"  # nothing came back in time
CLOSED = "closed"  # the peer ended it
TLS = "tls"  # the peer is not who it should be
MALFORMED = "malformed"  # the peer does not speak MQTT
REJECTED = "rejected"  # the broker does not want this device
POLICY = "policy"  # we do not want this connection


class Fault(Exception):
    """This connection is of no use any more. `kind` is one of the above, str() says why."""

    def __init__(self, kind, words):
        super().__init__(words)
        self.kind = kind
