"""Updates: the power cut at hundreds of points of the whole process, and what a signature costs.

The VM does what boot.py and an update do, on the simulated flash, with this repository's firmware;
after each cut it boots again. host_tests/update_bench.py has the cuts, the tests do thirty.
"""

from __future__ import annotations

import collections
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from shipping import bundle as bundles
from shipping.firmware import compiled, in_slot
from sim.image import Image
from tools.benches.report import Report

TESTS = Path(__file__).resolve().parents[2] / "host_tests"

COST = """
import gc, time
from cloud.signature import verify
key, digest, signature = bytes.fromhex("{key}"), bytes.fromhex("{digest}"), bytes.fromhex("{s}")
gc.collect()
gc.disable()
before, most, longest, total = gc.mem_alloc(), 0, 0, 0
for _ in range(20):
    work = verify(key, digest, signature)
    good = None
    while good is None:
        gc.collect()
        started = time.ticks_us()
        try:
            next(work)
        except StopIteration as end:
            good = end.value
        took = time.ticks_diff(time.ticks_us(), started)
        total += took
        longest = max(longest, took)
        most = max(most, gc.mem_alloc() - before)
    if not good:
        raise ValueError
print(total // 20, longest, most)
"""


def report(image: Image, console: Console, quick: bool) -> None:
    sys.path.insert(0, str(TESTS))
    from update_bench import (  # type: ignore[import-not-found]  # noqa: PLC0415
        Board,
        cuts,
        key,
        made,
    )

    number = 30 if quick else 300
    page = Report("updates", "Updates: power cuts, and what the signature costs", console)
    old = in_slot(compiled(image.vm.architecture))
    del old[bundles.MANIFEST]
    used = (
        "device/slots.mpy",
        "device/unloading.mpy",
        "cloud/install.mpy",
        "cloud/bundle_check.mpy",
        "cloud/bundle_files.mpy",
        "cloud/bundle_manifest.mpy",
        "cloud/refused.mpy",
        "cloud/update_key.mpy",
        "cloud/signature.mpy",
    )
    new = {
        name: data if name in used or n % 2 else data + b"changed"
        for n, (name, data) in enumerate(old.items())
    }
    with tempfile.TemporaryDirectory(prefix="ampguard-updates-") as folder:
        board = Board(image, Path(folder) / "flash", old, new)
        bundle = Path(folder) / "bundle"
        bundle.write_bytes(made(image, new))
        booted = collections.Counter(cuts(board, bundle, number))
        board.lay_out()
        told = board.do("boot", "install", "boot", "settle", bundle=bundle)
    page.words(
        "A firmware of this repository's files, half of them changed, is installed, started on "
        "trial and confirmed; the power fails in one of the calls that change the flash, in a "
        "write half of it has landed. Then the board boots, and the update is begun again. A cut "
        "counts as lost if no slot boots, if the one that does is not wholly of one version, if "
        "anything of the owner's changed, or if the second attempt does not end well: the bench "
        "stops at the first."
    )
    page.table(
        f"{number} power cuts, spread over {told['changes']} calls",
        ["booted after the cut", "cuts"],
        [
            ["the old version, whole", str(booted["0.1.0"])],
            ["the new version, whole", str(booted["0.2.0"])],
            ["nothing, or a mixture", "0"],
        ],
    )
    page.table(
        "Fetched, of a bundle of " + str(len(made(image, new))) + " bytes",
        ["", "bytes"],
        [["the rest is copied from the running slot", str(told["fetched"])]],
    )
    page.table(
        "Verifying one signature (RSA, 3072 bits, e = 65537)",
        ["VM", "all, ms", "longest without handing over, ms", "heap at most, bytes"],
        [_cost(image, key(0))],
    )
    page.words(
        "On this host; an ESP32 has not been measured. Its multiplications work on the same "
        "16-bit digits: 17 times 192 x 192 of them, and as many again for the remainders."
    )
    page.save()


def _cost(image: Image, private: bundles.rsa.RSAPrivateKey) -> list[str]:
    message = b"version 0.2.0"
    signature = private.sign(message, bundles.padding.PKCS1v15(), bundles.hashes.SHA256())
    digest = bundles.hashlib.sha256(message).hexdigest()
    code = COST.format(key=bundles.public(private).hex(), digest=digest, s=signature.hex())
    done = subprocess.run(
        [str(image.vm.path), "-X", "heapsize=100wk", "-c", code],
        env={"MICROPYPATH": f"{image.code}:.frozen"},
        capture_output=True,
        text=True,
        check=True,
    )
    total, longest, heap = map(int, done.stdout.split())
    words = f"{8 * image.vm.word_bytes}-bit words"
    return [words, f"{total / 1000:.2f}", f"{longest / 1000:.2f}", str(heap)]
