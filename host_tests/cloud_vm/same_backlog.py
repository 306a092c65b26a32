"""The backlog: sentences that hold on every interpreter."""

import builtins
import os
import sys

from expect import raises

from cloud import backlog, segments


class Backlog(backlog.Backlog):
    """With segments of 100 bytes, at most `count`."""

    count = 84

    def open(self):
        kept = super().open()
        kept.segments = self.count
        kept.segment_bytes = 100
        return kept


def entry(n):
    return b"record %05d" % n


def put(log, numbers):
    for n in numbers:
        log.put(1, entry(n))


def drain(log):
    """What peek() and drop() give, as numbers, and which of them were late."""
    numbers = []
    late = []
    while log.peek() is not None:
        kind, data, was_late = log.peek()
        assert kind == 1
        numbers.append(int(data[7:]))
        late.append(was_late)
        log.drop()
    return numbers, late


def test_while_the_broker_answers_nothing_is_written():
    log = Backlog("b")
    for n in range(100):
        put(log, [n])
        assert drain(log) == ([n], [False])
    assert os.listdir("b") == []


def test_an_outage_is_sent_later_in_order_and_marked_late():
    log = Backlog("b")
    put(log, range(5))
    log.keep()
    put(log, range(5, 7))
    assert drain(log) == ([0, 1, 2, 3, 4, 5, 6], [True] * 5 + [False] * 2)
    assert log.lost == 0
    assert not [name for name in os.listdir("b") if name.endswith(".seg")]


def test_a_record_is_kept_until_it_is_acknowledged():
    log = Backlog("b")
    put(log, range(2))
    log.keep()
    assert log.peek() == log.peek() == (1, entry(0), True)


def test_records_survive_a_restart_at_any_moment():
    for moment in range(60):
        log = Backlog("b")
        put(log, range(30))
        log.keep()
        sent = []
        for _ in range(moment):
            if log.peek() is not None:
                sent.append(int(log.peek()[1][7:]))
                log.drop()
        again, late = drain(Backlog("b"))
        assert sorted(set(sent + again)) == list(range(30)), moment
        assert again == sorted(again)
        assert all(late)
        assert len(sent) + len(again) - 30 <= segments.Segments.save_every


def test_what_is_recorded_after_a_restart_follows_what_was_before():
    log = Backlog("b")
    put(log, range(10))
    log.keep()
    for _ in range(4):
        log.peek()
        log.drop()
    log = Backlog("b")
    put(log, range(10, 20))
    log.keep()
    numbers, _ = drain(log)
    assert numbers[-15:] == list(range(5, 20))
    # and once more, now that everything was sent and only the mark is left
    log = Backlog("b")
    put(log, range(20, 25))
    log.keep()
    assert drain(Backlog("b"))[0] == list(range(20, 25))


def test_a_power_cut_at_any_byte_costs_only_the_record_being_written():
    log = backlog.Backlog("whole")
    put(log, range(4))
    log.keep()
    (name,) = os.listdir("whole")
    with open("whole/" + name, "rb") as file:
        data = file.read()
    size = len(data) // 4
    for cut in range(len(data) + 1):
        log = Backlog("b")
        drain(log)
        for old in os.listdir("b"):
            os.remove("b/" + old)
        with open("b/" + name, "wb") as file:
            file.write(data[:cut])
        log = Backlog("b")
        put(log, [77, 78])
        log.keep()
        expected = list(range(cut // size))
        expected.extend((77, 78))
        assert drain(log)[0] == expected, cut


def test_a_flipped_bit_costs_the_rest_of_its_segment_and_no_more():
    log = Backlog("b")
    put(log, range(15))
    log.keep()
    names = sorted(os.listdir("b"))
    assert len(names) == 3
    with open("b/" + names[1], "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 16
    with open("b/" + names[1], "wb") as file:
        file.write(data)
    numbers, _ = drain(Backlog("b"))
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14]


class Few(Backlog):
    count = 3


def test_a_full_backlog_loses_its_oldest_and_counts():
    log = Few("b")
    put(log, range(100))
    log.keep()
    numbers, _ = drain(log)
    assert len(numbers) >= 10
    assert numbers == list(range(100 - len(numbers), 100))
    assert log.lost == 100 - len(numbers)


_open = open


class FullFlash:
    def __enter__(self):
        builtins.open = self.open

    def open(self, name, mode):
        if mode == "ab":
            raise OSError(28, "full")
        return _open(name, mode)

    def __exit__(self, *failure):
        builtins.open = _open


def test_a_full_flash_keeps_the_newest_in_memory_and_says_so():
    log = Backlog("b")
    with FullFlash():
        put(log, range(30))
        assert "28" in log.problem
    assert log.lost == 30 - Backlog.in_memory
    assert drain(log)[0] == list(range(30 - Backlog.in_memory, 30))
    put(log, range(30, 50))
    log.keep()
    assert log.problem is None
    assert drain(log)[0] == list(range(30, 50))


class TornWrite:
    """Flash that takes half of an entry and then no more."""

    def __enter__(self):
        builtins.open = self.open

    def open(self, name, mode):
        if mode != "ab":
            return _open(name, mode)
        with _open(name, mode) as file:
            file.write(b"\x0c\x00\x01half")
        raise OSError(5, "torn")

    def __exit__(self, *failure):
        builtins.open = _open


def test_nothing_is_written_behind_an_entry_that_was_torn():
    log = backlog.Backlog("b")
    put(log, range(3))
    log.keep()
    put(log, [3])
    with TornWrite():
        log.keep()
    assert log.problem
    put(log, [4, 5])
    log.keep()
    assert drain(backlog.Backlog("b"))[0] == [0, 1, 2, 3, 4, 5]


def test_a_restart_in_the_middle_of_a_segment_repeats_a_few_records_and_not_all():
    log = backlog.Backlog("b")
    put(log, range(60))
    log.keep()
    for _ in range(40):
        log.peek()
        log.drop()
    again, _ = drain(backlog.Backlog("b"))
    assert again == list(range(32, 60))


def test_a_record_that_is_too_long_is_refused():
    log = backlog.Backlog("b")
    assert "512" in raises(ValueError, log.put, 1, bytes(513))
    log.put(1, bytes(512))
    log.keep()
    assert log.peek()[1] == bytes(512)


def test_seven_days_of_minutes_fit():
    room = segments.Segments.segment_bytes // (7 + 56)
    assert room * (segments.Segments.segments - 2) >= 7 * 24 * 60


def test_the_code_for_flash_is_in_memory_only_while_something_is_on_flash():
    log = Backlog("b")
    assert "cloud.segments" not in sys.modules
    put(log, range(3))
    assert "cloud.segments" not in sys.modules
    log.keep()
    assert "cloud.segments" in sys.modules
    assert drain(log)[0] == [0, 1, 2]
    assert "cloud.segments" not in sys.modules
    began = log.last
    put(log, range(3, 5))
    log.keep()
    assert log.last > began


def test_a_record_waits_in_memory_while_there_is_none_to_write_it_with():
    log = Backlog("b")

    def no_memory():
        raise MemoryError

    log.open, there = no_memory, log.open
    put(log, range(30))
    assert "memory" in log.problem
    assert log.waiting
    assert log.lost == 30 - Backlog.in_need
    log.open = there
    log.keep()
    assert log.problem is None
    assert drain(log)[0] == list(range(30 - Backlog.in_need, 30))
