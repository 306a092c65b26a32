"""Every name leads to the portal; nothing else gets an answer. dnspython is the judge."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioning.dns import MAX_PACKET, answer, packed

IP = packed("192.168.251.1")

labels = st.binary(min_size=1, max_size=63)
names = st.lists(labels, max_size=6).map(lambda found: dns.name.Name([*found, b""]))
kinds = st.sampled_from(["A", "AAAA", "HTTPS", "TXT", "NS", "SOA", "ANY", "PTR", "TYPE65400"])


def ask(name: dns.name.Name | str, kind: str, **flags: object) -> dns.message.Message:
    return dns.message.make_query(name, kind, **flags)


@settings(max_examples=150, deadline=None)
@given(names, kinds, st.booleans(), st.integers(0, 65535))
def test_an_address_for_every_name_and_an_empty_answer_for_every_other_type(
    name: dns.name.Name, kind: str, edns: bool, number: int
) -> None:
    query = ask(name, kind, use_edns=0 if edns else False, id=number)
    wire = query.to_wire()
    reply = dns.message.from_wire(answer(wire, IP))
    assert query.is_response(reply)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert reply.question == query.question
    if kind == "A":
        [found] = reply.answer
        assert found.ttl == 0
        assert [record.address for record in found] == ["192.168.251.1"]
        assert found.name == name
    else:
        assert reply.answer == []


def test_the_case_of_a_name_comes_back_as_it_was_asked() -> None:
    # Resolvers that mix it (0x20) drop a reply which does not.
    wire = ask("wWw.ExAmPlE.cOm", "A").to_wire()
    assert wire[12:] == answer(wire, IP)[12 : len(wire)]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=600))
@example(b"")
@example(b"\0" * 12)
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x3f" * 500)
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0\0\0\1\0")
def test_no_packet_raises_and_no_answer_is_larger_than_its_question_and_an_address(
    packet: bytes,
) -> None:
    reply = answer(packet, IP)
    assert reply is None or len(reply) <= len(packet) + 16


@settings(max_examples=300, deadline=None)
@given(names, st.data())
def test_a_truncated_query_is_dropped(name: dns.name.Name, data: st.DataObject) -> None:
    wire = ask(name, "A").to_wire()
    assert answer(wire[: data.draw(st.integers(0, len(wire) - 1))], IP) is None


def test_what_is_no_plain_query_is_dropped() -> None:
    wire = bytearray(ask("example.com", "A").to_wire())
    response = dns.message.make_response(ask("example.com", "A")).to_wire()
    assert answer(response, IP) is None
    update = ask("example.com", "A")
    update.set_opcode(dns.opcode.STATUS)
    assert answer(update.to_wire(), IP) is None
    for at, what in ((5, "questions"), (7, "answers"), (9, "authorities")):
        changed = bytearray(wire)
        changed[at] += 1
        assert answer(bytes(changed), IP) is None, what
    changed = bytearray(wire)
    changed[5] = 0
    assert answer(bytes(changed), IP) is None
    assert answer(bytes(wire) + b"\0", IP) is None, "unannounced bytes"
    assert answer(bytes(wire).ljust(MAX_PACKET + 1, b"\0"), IP) is None
    pointer = bytes(wire[:12]) + b"\xc0" + b"a" * 192 + b"\0\0\1\0\1"
    assert answer(pointer, IP) is None, "a compressed name"
    changed = bytearray(wire)
    changed[2] |= 0x02  # truncated
    assert answer(bytes(changed), IP) is None


def test_another_class_than_internet_gets_no_address() -> None:
    wire = bytearray(ask("version.bind", "A").to_wire())
    wire[-1] = 3  # CHAOS
    assert dns.message.from_wire(answer(bytes(wire), IP)).answer == []


@pytest.fixture
def server() -> Iterator[int]:
    """The real server loop on a loopback socket."""
    import asyncio

    from provisioning.dns import serve

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(loop.create_task(
        until_told(serve(Starving(sock), "192.168.251.1"))),))  # fmt: skip
    thread.start()
    yield sock.getsockname()[1]
    loop.call_soon_threadsafe(_tasks_of(loop))
    thread.join()
    sock.close()


class Starving:
    """A socket whose packet finds no memory at first."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.hungry = sock, 3

    def fileno(self) -> int:
        return self.sock.fileno()

    def recvfrom(self, size: int) -> tuple[bytes, object]:
        if self.hungry:
            self.hungry -= 1
            raise MemoryError
        return self.sock.recvfrom(size)

    def sendto(self, data: bytes, peer: object) -> None:
        self.sock.sendto(data, peer)


async def until_told(task) -> None:
    import asyncio
    import contextlib

    with contextlib.suppress(asyncio.CancelledError):
        await task


def _tasks_of(loop):
    import asyncio

    def cancel() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()

    return cancel


def test_a_resolver_library_finds_the_portal_and_survives_junk_in_between(server: int) -> None:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = server
    resolver.lifetime = 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
        for size in (1, 12, 40, 512, 513, 1400):
            junk.sendto(b"\xa5" * size, ("127.0.0.1", server))
    found = resolver.resolve("captive.apple.com", "A")
    assert [record.address for record in found] == ["192.168.251.1"]
    with pytest.raises(dns.resolver.NoAnswer):
        resolver.resolve("captive.apple.com", "AAAA")
