"""A board's flash with a firmware in slot a, bundles for it, and the VM to install them with."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from shipping import bundle as bundles
from shipping.bundle import Contents
from shipping.compiler import compile_source
from shipping.firmware import compiled, in_slot
from sim.image import Image

SCRIPT = Path(__file__).resolve().parent / "update_vm" / "installing.py"
OLD, NEW = "0.1.0", "0.2.0"
OWN = {
    "factory.json": b'{"v": 1, "serial": "AG100042317G"}',
    "settings": b"0badc0de\n{}",
    "energy.0": bytes(range(256)) * 8,
    "backlog/0": b"records",
    "a note": b"of the owner",
}  # what an update must not touch
_UPDATER = (
    "device/slots.mpy",
    "device/unloading.mpy",
    "cloud/install.mpy",
    "cloud/refused.mpy",
    "cloud/update_key.mpy",
    "cloud/bundle_check.mpy",
    "cloud/bundle_files.mpy",
    "cloud/bundle_manifest.mpy",
    "cloud/signature.mpy",
)


@cache
def key(number: int) -> rsa.RSAPrivateKey:
    """The factory's key, or somebody else's."""
    return bundles.new_key()


def small(image: Image, version: str) -> dict[str, bytes]:
    """A firmware of few files, with all that an update needs of one."""
    old = version == OLD
    files = {name: (image.code / name).read_bytes() for name in _UPDATER}
    files |= {
        "main.mpy": b"main of " + version.encode(),
        "pages/form.html": b"<p>" * (300 if old else 500),
        "pages/same.html": b"<p>the same" * 100,
        "gone/only.mpy" if old else "new/deep/er.mpy": b"x" * 700,
        "empty.txt": b"",
        "swap.mpy" if old else "swap/inside.mpy": b"y" * 10,
    }
    return files


def made(
    image: Image, files: dict[str, bytes], version: str = NEW, who: int = 0, **other: Any
) -> bytes:
    contents = Contents.of(files, version, image.vm.architecture, **other)
    return bundles.bundle(contents, files, key(who))


def firmware(version: str, architecture: str, folder: Path, **modules: str) -> bytes:
    """A bundle of this repository's firmware as `version`; modules: other source in place of
    "room__name" (nothing that shares private names with others: these are shortened together)."""
    files = in_slot(compiled(architecture))
    del files[bundles.MANIFEST]
    for name, source in (modules | {"version": f'VERSION = "{version}"\n'}).items():
        made = folder / f"{version}-{name}.mpy"
        compile_source(source, folder / f"{name}.py", made, architecture, name)
        files[name.replace("__", "/") + ".mpy"] = made.read_bytes()
    return bundles.bundle(Contents.of(files, version, architecture), files, key(0))


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a power cut is a crash of the VM


@dataclass
class Board:
    """A flash as a folder; `old` and `new`: the files of two firmwares."""

    image: Image
    folder: Path
    old: dict[str, bytes]
    new: dict[str, bytes]

    def lay_out(self) -> None:
        """As it comes from the flash tool, with what its owner added."""
        shutil.rmtree(self.folder, ignore_errors=True)
        manifest = Contents.of(self.old, OLD, self.image.vm.architecture).text()
        files = {f"a/{name}": data for name, data in self.old.items()}
        files |= {"a/manifest": manifest, "slot": self.image.files["slot"]}
        files |= {"slots.mpy": self.old["device/slots.mpy"], "update.key": bundles.public(key(0))}
        for name, data in (files | OWN).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def do(self, *what: str, bundle: Path, cut: int = 0, **task: Any) -> dict[str, Any] | None:
        """Runs boot, install, settle ... in one go on the VM. None if the power failed."""
        where = self.folder.parent
        (where / "board.json").write_text(
            json.dumps(
                {
                    "flash": str(self.folder),
                    "cut_at_write": cut,
                    "flash_size": task.pop("flash_size", 2 << 20),
                }
            )
        )
        script = where / SCRIPT.name
        script.write_text(self.image.translated(SCRIPT.read_text()))
        done = subprocess.run(
            [str(self.image.vm.path), "-X", "heapsize=400wk", str(script)],
            env={
                "MICROPYPATH": f"{self.image.standins}:.frozen",
                "AMPGUARD_BOARD": str(where / "board.json"),
                "AMPGUARD_TASK": json.dumps({"do": what, "bundle": str(bundle), **task}),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=_no_core,
        )
        if cut and done.returncode < 0:
            return None
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def holds(self, slot: str) -> str:
        """The version whose files a slot has, all of them and no other ones; "" if none's."""
        folder = self.folder / slot
        found = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in ("manifest", "manifest.new")
        }
        for version, files in ((OLD, self.old), (NEW, self.new)):
            if found == {name: hashlib.sha256(data).digest() for name, data in files.items()}:
                return version
        return ""

    @property
    def pointer_is_sound(self) -> bool:
        line = (self.folder / "slot").read_bytes()
        return line[:8] == b"%08x" % zlib.crc32(line[9:])

    def untouched(self) -> bool:
        """Whether all that is the owner's is as it was."""
        return all((self.folder / name).read_bytes() == data for name, data in OWN.items())


def cuts(board: Board, bundle: Path, number: int) -> list[str]:
    """The whole way from the old firmware to the new one, confirmed, with the power cut at
    `number` of its calls that change the flash, evenly spread. After each cut the board boots
    with one whole version, and a second attempt goes through. Returns what it booted, by cut."""
    way = ("boot", "install", "boot", "settle")
    board.lay_out()
    told = board.do(*way, bundle=bundle)
    assert told is not None
    assert "refused" not in told, told
    changes = told["changes"]
    booted = []
    for n in range(number):
        cut = 1 + n * changes // number
        board.lay_out()
        assert board.do(*way, bundle=bundle, cut=cut) is None, f"cut {cut} of {changes}"
        after = board.do("boot", bundle=bundle)
        assert after is not None
        version = board.holds(after["run"])
        assert version, f"cut {cut}: slot {after['run']} is mixed"
        assert board.untouched(), f"cut {cut}"
        assert board.pointer_is_sound, f"cut {cut}"
        booted.append(version)
        rest = ("settle",) if version == NEW else ("install", "boot", "settle")
        last = board.do("boot", *rest, "boot", bundle=bundle)
        assert last is not None
        assert "refused" not in last, f"cut {cut}: {last}"
        assert board.holds(last["run"]) == NEW, f"cut {cut}: {last}"
        assert last["news"] is None, f"cut {cut}: {last}"
        assert board.untouched(), f"cut {cut}"
    return booted
