"""A firmware frozen into the image: what lies on flash beside it hides none of its modules."""

import shutil
import subprocess
from pathlib import Path
from typing import cast

import pytest

from shipping.board import About, Board, OnBoard, Refused
from shipping.firmware import FIRMWARE, compiled, version_of
from shipping.flashing import Plan
from sim.image import Image

# Frozen modules have names without a folder before them, as those have that are found from "".
START = """
import os, sys
sys.path[:0] = ["a", "", "a/lib"]
import main, board, microdot
from provisioning import routes
for module in (main, board, routes):
    print(module.__file__)
print(sorted(os.listdir(routes.__file__.rpartition("/")[0] + "/text")))
"""


class There:
    """A board whose image holds the firmware of a version."""

    port = "here"
    about = About("ESP32", "1.29.0", "xtensawin", b"123456", 1 << 20)

    def __init__(self, version: str, *files: str, folders: tuple[str, ...] = ()) -> None:
        self._version = version
        self._found = dict.fromkeys(files, OnBoard(3, "0" * 64)) | dict.fromkeys(folders)

    def files(self) -> dict[str, OnBoard | None]:
        return self._found

    def frozen_version(self) -> str:
        return self._version


def test_frozen_modules_are_found_and_find_their_pages(image: Image, tmp_path: Path) -> None:
    for source in FIRMWARE.rglob("*.py"):
        if source.name not in ("boot.py", "run.py", "main.py", "manifest.py"):
            target = tmp_path / source.relative_to(FIRMWARE)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
    for path, data in compiled(image.vm.architecture, frozen=True).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    done = subprocess.run(
        [str(image.vm.path), "-X", "heapsize=8m", "-c", START],
        env={"MICROPYPATH": f"{image.standins}:.frozen"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "a/main.mpy",
        "board.py",
        "provisioning/routes.py",
        "['de.json', 'en.json', 'fr.json', 'sv.json']",
    ], done.stderr


def test_code_in_the_slot_that_would_hide_frozen_modules_goes() -> None:
    code = "a/board.mpy", "a/cloud/uplink.mpy", "a/provisioning/pages/form.html"
    folders = "a", "a/lib", "a/cloud", "a/provisioning", "a/provisioning/pages", "b", "b/cloud"
    found = There(version_of(), *code, "a/lib/mine.mpy", "b/cloud/uplink.mpy", folders=folders)
    plan = Plan.of(cast("Board", found), {}, frozen=True)
    assert sorted(plan.gone) == sorted(code)
    assert plan.folders_gone == ["a/provisioning/pages", "a/provisioning", "a/cloud"]
    assert "provisioning/pages/form.html" in plan.changed
    assert not [path for path in plan.changed if path.startswith("a/provisioning")]


@pytest.mark.parametrize(("version", "words"), [("", "no firmware"), ("0.0.1", "firmware 0.0.1")])
def test_another_firmware_in_the_image_is_refused(version: str, words: str) -> None:
    with pytest.raises(Refused, match=f"the image holds .*{words}, expected {version_of()}"):
        Plan.of(cast("Board", There(version)), {}, frozen=True)
