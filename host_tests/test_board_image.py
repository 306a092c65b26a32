"""The image: compiled once for the VM at hand, with one clear line when it can't be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sim.image import Image, ImageError, build, probe

ROOT = Path(__file__).resolve().parent.parent


def test_a_mistake_in_the_firmware_is_named_with_its_line(vm: Path, tmp_path: Path) -> None:
    (tmp_path / "metering").mkdir()
    (tmp_path / "metering" / "meter.py").write_text("x = 1\ny = (\n")
    with pytest.raises(ImageError) as caught:
        build(vm, firmware=tmp_path)
    assert str(caught.value) == "meter.py:3: SyntaxError: invalid syntax"


@pytest.mark.parametrize("wrong", ["/bin/true", "/nowhere/micropython", sys.executable])
def test_what_is_no_micropython_is_said_to_be_none(wrong: str) -> None:
    with pytest.raises(ImageError, match="expected a MicroPython"):
        probe(Path(wrong))


def test_the_firmware_lands_compiled_but_for_what_the_board_runs_by_name(
    image: Image, tmp_path: Path
) -> None:
    image.flash(tmp_path)
    code = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.py")}
    assert code == {"boot.py", "main.py"}
    assert (tmp_path / "a" / "lib" / "microdot.mpy").is_file()
    assert (tmp_path / "a" / "metering" / "meter.mpy").is_file()


def test_old_code_goes_and_settings_stay(image: Image, tmp_path: Path) -> None:
    (tmp_path / "a" / "cloud").mkdir(parents=True)
    (tmp_path / "a" / "cloud" / "forgotten.mpy").write_bytes(b"M")
    (tmp_path / "settings.json").write_text("mine")
    (tmp_path / "factory.json").write_text("{}")
    image.flash(tmp_path, {"serial": "AG100042317G"})
    assert not (tmp_path / "a" / "cloud" / "forgotten.mpy").exists()
    assert (tmp_path / "settings.json").read_text() == "mine"
    assert (tmp_path / "factory.json").read_text() == "{}"


def test_several_who_build_at_once_get_the_same_image(vm: Path, tmp_path: Path) -> None:
    (tmp_path / "fresh.py").write_text(f"stamp = {str(tmp_path)!r}\n")
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path; from sim.image import build\n"
        f"print(build(Path({str(vm)!r}), firmware=Path({str(tmp_path)!r})).folder)\n"
    )
    command = [sys.executable, "-c", script]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {builder.communicate(timeout=180)[0].strip() for builder in builders}
    assert len(folders) == 1
    (folder,) = folders
    assert (Path(folder) / "flash" / "a" / "fresh.mpy").is_file()
    subprocess.run(["rm", "-r", folder], check=True)
