"""When messages come: the one-second grid, coverage, steps and overloads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from metering_bench import MeterBench

from sim.plant import Plant


def test_messages_come_once_a_second_without_drift() -> None:
    found = MeterBench(Plant()).messages(6.05)
    assert [m.seq for _, m in found] == list(range(1, 7))
    for n, (at, _) in enumerate(found, 1):
        assert 1000 * n <= at <= 1000 * n + 30


def test_coverage_is_the_share_of_time_that_was_measured() -> None:
    told = MeterBench(Plant(), pause_us=(1000, 1000)).after(3)
    assert told.cov_permille == pytest.approx(952, abs=8)
    told = MeterBench(Plant(), pause_us=(20_000, 20_000)).after(3)
    assert told.cov_permille == pytest.approx(500, abs=15)
    assert "low_coverage" in told.flags


def test_the_meter_says_how_far_it_is_behind_what_may_be_lost() -> None:
    bench = MeterBench(Plant(), pause_us=(300, 300))
    bench.messages(2)
    assert bench.meter.behind_us < 1000
    bench.pause_us = (1600, 1600)  # 7.4 %, of which a 28th part is 3.6
    bench.messages(2)
    assert bench.meter.behind_us == pytest.approx(76_000, abs=12_000)
    bench.pause_us = (300, 300)
    bench.messages(2)
    assert bench.meter.behind_us == pytest.approx(34_000, abs=12_000)
    bench.time.sleep_ms(3500)
    bench.messages(0.1)
    assert bench.meter.behind_us == pytest.approx(150_000, abs=3000)  # of a stall, no more


def test_after_a_stall_there_is_one_message_on_the_old_grid() -> None:
    bench = MeterBench(Plant())
    start = bench.messages(2.05)[-1][1].seq
    bench.time.sleep_ms(3500)
    found = bench.messages(3)
    assert [m.seq - start for _, m in found] == [1, 2, 3, 4]
    assert "low_coverage" in found[0][1].flags
    assert found[0][1].cov_permille < 30
    assert [at // 1000 for at, _ in found[1:]] == [6, 7, 8]


def test_no_slice_lasts_longer_than_a_mains_cycle() -> None:
    for fields in ({"f": 50.0}, {"f": 45.0}, {"f": 65.0}, {"u": [0, 0, 0]}):
        bench = MeterBench(Plant(**fields))
        bench.messages(2)
        longest = 0
        for _ in range(60):
            start = bench.time.ns
            bench.meter.slice()
            longest = max(longest, bench.time.ns - start)
            bench.time.sleep_us(300)
        assert longest <= 22_300_000


@pytest.mark.parametrize("step", [6, 40, -14])
def test_a_step_is_told_at_once_with_the_new_current(step: int) -> None:
    for delay in (0.0, 0.313, 0.949):
        plant = Plant(i=[16, 10, 6])
        bench = MeterBench(plant)
        bench.messages(1.05 + delay)
        happened = bench.time.ns // 1_000_000
        plant.set(i=[16 + step, 10, 6])
        found = bench.messages(1.2)
        told = [m for at, m in found if at - happened <= 150]
        assert told[-1].i_ma == pytest.approx([(16 + step) * 1e3, 10_000, 6_000], rel=0.02)
        regular = [at for at, _ in found if at % 1000 <= 30]
        assert len(regular) in (1, 2)
        sequence = [m.seq for _, m in found]
        assert sequence == list(range(sequence[0], sequence[0] + len(found)))
        assert len(found) <= len(regular) + 1


def test_the_message_after_a_step_no_longer_holds_the_old_current() -> None:
    plant = Plant(i=[5, 5, 5])
    bench = MeterBench(plant)
    bench.messages(2.5)
    plant.set(i=[25, 5, 5])
    fast, regular = bench.messages(0.6)
    assert fast[1].i_ma[0] == pytest.approx(25_000, rel=0.01)
    assert regular[1].i_ma[0] == pytest.approx(25_000, rel=0.01)


def test_a_smaller_step_waits_for_the_second() -> None:
    plant = Plant(i=[16, 10, 6])
    bench = MeterBench(plant)
    bench.messages(2.5)
    plant.set(i=[20, 14, 10])
    assert [at // 1000 for at, _ in bench.messages(1)] == [3]


def test_the_size_of_a_step_can_be_set() -> None:
    plant = Plant(i=[16, 10, 6])
    bench = MeterBench(plant, step_a=2)
    bench.messages(2.5)
    plant.set(i=[19, 10, 6])
    assert len(bench.messages(0.4)) == 1


def test_noise_spikes_and_flicker_make_no_extra_messages() -> None:
    bench = MeterBench(Plant(i=[90, 90, 90], noise_lsb=5, spikes=0.01))
    assert len(bench.messages(6.05)) == 6


def test_an_overload_is_told_at_once_and_once() -> None:
    plant = Plant(i=[24, 10, 6])
    bench = MeterBench(plant, supply_max_a=25)
    bench.messages(2.5)
    plant.set(i=[27, 10, 6])  # less than a step
    found = bench.messages(2)
    assert found[0][0] < 2700
    assert found[0][1].i_ma[0] == pytest.approx(27_000, rel=0.01)
    assert [at // 1000 for at, _ in found[1:]] == [3, 4]
    plant.set(i=[23, 10, 6])
    assert bench.messages(0.3)[0][1].i_ma[0] == pytest.approx(23_000, rel=0.01)


def test_an_overload_is_an_event_when_it_begins_and_when_it_ends() -> None:
    plant = Plant(i=[24, 10, 6])
    bench = MeterBench(plant, supply_max_a=25)
    bench.messages(1.5)
    assert bench.meter.events == []
    plant.set(i=[27, 10, 6])
    bench.messages(0.2)
    (begun,) = bench.meter.events
    assert begun == (0, pytest.approx(27_000, rel=0.01), None)
    plant.set(i=[29, 10, 6])
    bench.messages(2)
    plant.set(i=[24.5, 10, 6])  # within 1/32 below: not over yet
    bench.messages(1.5)
    assert bench.meter.events == [begun]
    plant.set(i=[23, 10, 6])
    bench.messages(1.2)
    phase, i_ma, seconds = bench.meter.events[1]
    assert (phase, seconds) == (0, 3)
    assert i_ma == pytest.approx(29_000, rel=0.01)


def test_an_overload_on_every_phase_is_three_events_and_no_more_wait_than_fit() -> None:
    plant = Plant(i=[10, 10, 10])
    bench = MeterBench(plant, supply_max_a=25)
    for amperes in (30, 10, 30, 10):
        plant.set(i=[amperes] * 3)
        bench.messages(1.2)
    assert [event[0] for event in bench.meter.events] == [0, 1, 2, 0, 1, 2]


def test_intervals_between_messages_are_never_below_a_tenth_of_a_second() -> None:
    plant = Plant(i=[10, 10, 10])
    bench = MeterBench(plant)
    bench.messages(1.1)
    found = []
    for n in range(12):
        plant.set(i=[10 + 30 * (n % 2), 10, 10])
        found += bench.messages(0.09)
    assert all(b - a >= 99 for (a, _), (b, _) in pairwise(found))


def test_a_preempted_scan_voids_its_cycle_and_lowers_the_coverage() -> None:
    bench = MeterBench(Plant(i=[16, 10, 6]))
    bench.messages(1.1)
    readers = list(bench.meter._readers)
    count = 0

    def interrupted() -> int:
        nonlocal count
        count += 1
        if count % 300 == 0:
            bench.time.sleep_us(3000)
        return readers[2]()

    bench.meter._readers = (*readers[:2], interrupted, *readers[3:])
    told = bench.messages(2)[-1][1]
    assert told.i_ma == pytest.approx([16_000, 10_000, 6_000], rel=0.01)
    assert told.p_mw == pytest.approx([3_680_000, 2_300_000, 1_380_000], rel=0.01)
    assert told.cov_permille < 900
