"""Catch-all DNS for the access point: every name leads to the portal.

In: one UDP packet and the portal's address. Out: the packet to send back, or None for silence.
`serve` is the task around it. Formats follow RFC 1035 sections 4.1.1-4.1.3.
"""

import asyncio
import select
import struct

from micropython import const

# Larger packets are never asked by a phone; the buffer for one is all the memory a flood can get.
MAX_PACKET = const(512)

_HEADER = const(12)
_A = const(1)
_IN = const(1)
_MAX_NAME = const(255)
_MAX_LABEL = const(63)

# QR and AA: this is an answer and nobody knows better. RA: some resolvers distrust a server
# that can't recurse and turn to their mobile network. RCODE 0.
_ANSWER_FLAGS = const(0x8480)
_RECURSION_DESIRED = const(0x0100)
_QR_OPCODE_TC = const(0xFA00)


def _question_end(packet):
    """Index after QNAME, QTYPE and QCLASS of the one question, or 0 if it is malformed."""
    at = _HEADER
    size = len(packet)
    while at < size:
        length = packet[at]
        at += 1
        if length == 0:
            end = at + 4
            return end if end <= size and at - _HEADER <= _MAX_NAME else 0
        if length > _MAX_LABEL:  # a compression pointer has nothing to point at yet
            return 0
        at += length
    return 0


def answer(packet, ip):
    """The response to a DNS query, or None if it deserves none.

    An A query gets `ip` (four bytes) with TTL 0, so that nothing is remembered once the phone
    is back in the real world. Every other type exists but is empty (NOERROR): an NXDOMAIN for
    AAAA would make some phones drop the A answer too. Responses, other opcodes, several
    questions, malformed and oversized packets are dropped.
    """
    if not _HEADER < len(packet) <= MAX_PACKET:
        return None
    ident, flags, questions, answers, authorities, extras = struct.unpack_from(">6H", packet)
    if flags & _QR_OPCODE_TC or questions != 1 or answers or authorities or extras > 2:
        return None
    end = _question_end(packet)
    # Behind the question there may only be what is announced (EDNS, RFC 6891: may be ignored).
    if not end or (end != len(packet)) != (extras > 0):
        return None
    kind, of_class = struct.unpack_from(">2H", packet, end - 4)
    found = kind == _A and of_class == _IN
    head = struct.pack(
        ">6H", ident, _ANSWER_FLAGS | flags & _RECURSION_DESIRED, 1, 1 if found else 0, 0, 0
    )
    reply = head + bytes(packet[_HEADER:end])
    if found:
        # Name: a pointer to the question's; type A, class IN, TTL 0, four bytes of address.
        reply += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04" + ip
    return reply


def packed(address):
    """The four bytes of a dotted address: packed("192.168.251.1") == b"\\xc0\\xa8\\xfb\\x01"."""
    return bytes([int(part) for part in address.split(".")])


def _waiting(ready):
    for _ in ready(0):
        return True
    return False


async def serve(sock, address):
    """Answer for ever on a bound, non-blocking UDP socket; cancel to stop.

    Polled 25 times a second rather than through asyncio's private queue: no phone notices
    40 ms, and a flood gets no more than eight answers a round, so that it can't starve the meter.
    """
    ip = packed(address)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    ready = getattr(poller, "ipoll", poller.poll)  # ipoll allocates nothing
    while True:
        for _ in range(8):
            if not _waiting(ready):
                break
            try:
                packet, peer = sock.recvfrom(MAX_PACKET + 1)
                reply = answer(packet, ip)
                if reply:
                    sock.sendto(reply, peer)
            except (OSError, MemoryError):
                # The phone left, or there is no room for the packet: it will ask again.
                break
        await asyncio.sleep(0.04)
