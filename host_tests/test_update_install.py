"""Bundles into the slot that does not run, on the board's flash in the VM: good ones, bad ones,
and the power failing at any moment."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import update_bench
from update_bench import NEW, OLD, Board, cuts, key, made, small

from shipping import bundle as bundles
from sim.image import Image


@pytest.fixture
def bench(image: Image, tmp_path: Path) -> Board:
    board = Board(image, tmp_path / "flash", small(image, OLD), small(image, NEW))
    board.lay_out()
    return board


def stored(board: Board, data: bytes) -> Path:
    file = board.folder.parent / "bundle"
    file.write_bytes(data)
    return file


def told(board: Board, *what: str, bundle: bytes = b"", **task: Any) -> dict[str, Any]:
    found = board.do(*what, bundle=stored(board, bundle), **task)
    assert found is not None
    return found


def test_a_bundle_is_installed_tried_and_stays(bench: Board) -> None:
    bundle = made(bench.image, bench.new)
    first = told(bench, "boot", "install", bundle=bundle)
    assert first["judged"] == [NEW, sum(map(len, bench.new.values()))]
    assert (first["run"], bench.holds("a"), bench.holds("b")) == ("a", OLD, NEW)
    trial = told(bench, "boot")
    assert (trial["run"], trial["news"]) == ("b", {"run": "b", "back": "a", "boots": 1})
    told(bench, "boot", "settle")
    after = told(bench, "boot")
    assert (after["run"], after["news"]) == ("b", None)
    assert bench.untouched()
    # And the next one, into slot a: what the first firmware had and this one has not goes.
    again = told(bench, "boot", "install", bundle=made(bench.image, bench.new, "0.3.0"))
    assert "refused" not in again
    assert told(bench, "boot")["run"] == "a"
    assert bench.holds("a") == NEW
    assert not (bench.folder / "a" / "gone").exists()


def test_a_slot_full_of_another_firmware_is_cleared_a_few_files_at_a_time(bench: Board) -> None:
    """A board of two updates has a hundred files there: their names alone were once too much."""
    for n in range(100):
        stray = bench.folder / "b" / f"old{n % 3}" / f"n{n}.mpy"
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"M")
    assert "refused" not in told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    assert bench.holds("b") == NEW
    assert not (bench.folder / "b" / "old0").exists()


def test_a_slot_that_is_being_changed_does_not_count_as_whole(bench: Board) -> None:
    settled = (bench.folder / "slot").read_bytes()
    told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    (bench.folder / "slot").write_bytes(settled)
    assert (bench.folder / "b" / "manifest").exists()
    next_one = stored(bench, made(bench.image, bench.old, "0.3.0"))
    assert bench.do("boot", "install", bundle=next_one, cut=20) is None
    assert not (bench.folder / "b" / "manifest").exists()
    (bench.folder / "slot").unlink()
    assert told(bench, "boot")["run"] == "a"


def test_the_power_may_fail_at_any_moment(bench: Board) -> None:
    booted = cuts(bench, stored(bench, made(bench.image, bench.new)), 30)
    assert set(booted) == {OLD, NEW}
    assert booted == sorted(booted)  # once new, always new


def test_what_is_there_already_is_not_fetched_again(bench: Board) -> None:
    bundle = made(bench.image, bench.new)
    whole = told(bench, "boot", "install", bundle=bundle)
    same = [name for name, data in bench.new.items() if bench.old.get(name) == data]
    assert len(same) > 3
    assert len(bundle) - whole["fetched"] == sum(len(bench.new[name]) for name in same)
    bench.lay_out()
    assert bench.do("boot", "install", bundle=stored(bench, bundle), cut=70) is None
    rest = told(bench, "boot", "install", bundle=bundle)
    assert "refused" not in rest
    assert rest["fetched"] < whole["fetched"]
    assert bench.holds("b") == NEW


def shifted(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_bundle_that_is_not_to_be_trusted_changes_nothing(bench: Board) -> None:
    good = made(bench.image, bench.new)
    end = int(good[18:24])
    blob = end + bundles.KEY_BYTES
    changed = good.index(bench.new["pages/form.html"])
    old = made(bench.image, bench.new, "0.0.9")
    cases = {
        "not signed with the key": [
            made(bench.image, bench.new, who=1),
            shifted(good, 40),  # the version
            shifted(good, end - 2),  # a path
            shifted(good, end),
            good[:end] + bytes(384) + good[blob:],
            good[:end] + b"\xff" * 384 + good[blob:],
        ],
        "did not arrive as it was signed": [shifted(good, changed), shifted(good, len(good) - 1)],
        "the bundle ends": [good[:10], good[: end - 9], good[: end + 9], good[:-1]],
        "no bundle of the Amp Guard": [b"PK" * 500, b"ampguard-bundle x" + bytes(50)],
        "format 2": [good.replace(b"bundle 1", b"bundle 2", 1)],
        "expected at most 16384": [good.replace(b"%06d" % end, b"099999", 1)],
        "0.0.9 is older than 0.1.0, and no downgrade was asked for": [old],
        "0.1.0 is already running": [made(bench.image, bench.new, OLD)],
        "it is for public, this is home": [made(bench.image, bench.new, variants=("public",))],
    }
    for words, bundle in ((words, one) for words, ones in cases.items() for one in ones):
        bench.lay_out()
        found = told(bench, "boot", "install", bundle=bundle)
        assert words in found.get("refused", ""), (words, found)
        after = told(bench, "boot")
        assert (after["run"], bench.holds("a"), bench.untouched()) == ("a", OLD, True), words
    assert "refused" not in told(bench, "boot", "install", bundle=old, downgrade=True)
    assert told(bench, "boot")["run"] == "b"


@pytest.mark.parametrize(
    ("have", "words"),
    [
        ({1: "1.22.2"}, "it needs MicroPython 1.23, this device has 1.22.2"),
        ({2: 11}, "it is for another processor"),
        ({3: "6.2"}, "it is compiled for mpy 6.3, this device runs 6.2"),
        ({4: 30}, "small ints of 31 bits"),
        ({5: 0}, "it needs another boot.py, which no update brings: tools/flash.py does"),
    ],
)
def test_a_bundle_for_another_board_is_refused(
    bench: Board, have: dict[int, Any], words: str
) -> None:
    found = told(bench, "boot", "install", bundle=made(bench.image, bench.new), have=have)
    assert words in found["refused"]
    assert told(bench, "boot")["run"] == "a"


def test_a_full_flash_is_told_before_the_old_slot_is_given_up(bench: Board) -> None:
    bundle = made(bench.image, bench.new)
    told(bench, "boot", "install", "boot", "settle", bundle=bundle)
    used = sum(path.stat().st_size for path in bench.folder.rglob("*"))
    found = told(
        bench,
        *("boot", "install"),
        bundle=made(bench.image, bench.old, "0.3.0"),
        flash_size=used + 60_000,
    )
    assert "no space: it takes" in found["refused"]
    assert bench.holds("a") == OLD
    (bench.folder / "slot").write_text("damaged")
    assert told(bench, "boot")["run"] == "b"


def test_a_device_without_a_key_takes_no_update(bench: Board) -> None:
    (bench.folder / "update.key").unlink()
    found = told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    assert "no key to check updates with" in found["refused"]
    (bench.folder / "update.key").write_bytes(bundles.public(key(0))[:-1])
    found = told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    assert "key of this device is damaged" in found["refused"]


def test_three_boots_without_a_confirmation_bring_the_old_firmware_back(bench: Board) -> None:
    told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    for boots in (1, 2, 3):
        trial = told(bench, "boot")
        assert (trial["run"], trial["news"]["boots"]) == ("b", boots)
    back = told(bench, "boot")
    assert back["run"] == "a"
    assert back["news"] == {
        "run": "a",
        "failed": NEW,
        "why": "it started 3 times and was not confirmed",
    }
    assert told(bench, "boot")["news"] == back["news"]  # until it has been told
    told(bench, "boot", "settle")
    assert told(bench, "boot")["news"] is None
    assert bench.untouched()


def test_a_trial_that_cannot_be_counted_does_not_begin(bench: Board) -> None:
    told(bench, "boot", "install", bundle=made(bench.image, bench.new))
    assert told(bench, "boot", flash_size=4096)["run"] == "a"
    assert told(bench, "boot")["run"] == "b"


def test_a_lost_or_damaged_pointer_leads_to_the_newest_slot_that_is_whole(bench: Board) -> None:
    told(bench, "boot", "install", "boot", "settle", bundle=made(bench.image, bench.new))
    pointer = bench.folder / "slot"
    good = pointer.read_bytes()
    damaged = [
        b"",
        good[:-1],
        shifted(good, 12),
        shifted(good, 0),
        b"00000000 {}",
        b"\xff" * 40,
        good[:9] + b"[]",
    ]
    for data in damaged:
        pointer.write_bytes(data)
        assert told(bench, "boot")["run"] == "b", data
    pointer.unlink()
    assert told(bench, "boot")["run"] == "b"
    (bench.folder / "b" / "main.mpy").unlink()
    assert told(bench, "boot")["run"] == "a"
    pointer.write_bytes(good)
    (bench.folder / "b" / "manifest").unlink()
    assert told(bench, "boot")["run"] == "a"


def test_the_bundle_is_what_the_host_verifies_too(bench: Board) -> None:
    data = made(bench.image, bench.new)
    found = bundles.Bundle.parse(data)
    assert found.signed_by(bundles.public(key(0)))
    assert not found.signed_by(bundles.public(key(1)))
    assert found.damage() is None
    assert "cut short in main.mpy" in (bundles.Bundle.parse(data[:-1]).damage() or "")
    assert "1 bytes too many" in (bundles.Bundle.parse(data + b"x").damage() or "")
    assert "is not what" in (bundles.Bundle.parse(shifted(data, len(data) - 1)).damage() or "")
    files = {entry.path: entry.sha256 for entry in found.contents.files}
    assert files == {name: hashlib.sha256(d).hexdigest() for name, d in bench.new.items()}
    assert found.contents.version == update_bench.NEW
