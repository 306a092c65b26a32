"""The one object that goes everywhere: uplink, energy, wiring, the live page."""


class Measurement:
    """What the meter knows at one instant. Lists have one entry per phase, None where absent.

    seq: +1 for each; ts_ms: Unix ms or None; i_ma, u_mv: true RMS; p_mw, q_mvar: positive into the
    building, inductive positive; pf_milli: -1000..1000; f_mhz; cov_permille: share of the time
    since the last message that was measured; flags: list of words.
    """

    __slots__ = (  # noqa: RUF023 (as in the docstring)
        "seq",
        "ts_ms",
        "i_ma",
        "u_mv",
        "p_mw",
        "q_mvar",
        "pf_milli",
        "f_mhz",
        "cov_permille",
        "flags",
    )

    def __init__(self, seq, ts_ms):
        self.seq = seq
        self.ts_ms = ts_ms
        self.i_ma = [None, None, None]
        self.u_mv = [None, None, None]
        self.p_mw = [None, None, None]
        self.q_mvar = [None, None, None]
        self.pf_milli = [None, None, None]
        self.f_mhz = None
        self.cov_permille = 0
        self.flags = []
