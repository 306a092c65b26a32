"""The installer's story in a real Chromium, on the simulated board.

AMPGUARD_SCREENSHOTS=docs/portal makes the pictures there anew.
"""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import program
from whole_device import WholeDevice

pytestmark = pytest.mark.whole_device

HOME, PASSWORD = "Hallonstigen 7", "smultron-och-mjolk"
PAGES = ("/", "/status", "/wiring", "/wiring?site=1", "/details", "/provider")
PHONE, SMALL = {"width": 390, "height": 844}, {"width": 320, "height": 568}

# Text that is harder to read than WCAG AA allows (4.5:1, large 3:1), and fields without a name.
FAULTS = """() => {
  const faults = [];
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !at.checkVisibility()) continue;
    let back = at;
    while (back.parentElement && rgb(getComputedStyle(back).backgroundColor)[3] === 0)
      back = back.parentElement;
    const style = getComputedStyle(at);
    const [a, b] = [light(rgb(style.color)), light(rgb(getComputedStyle(back).backgroundColor))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) faults.push(ratio.toFixed(2) + " " + walk.currentNode.data);
  }
  for (const field of document.querySelectorAll("input"))
    if (!field.labels.length && !field.ariaLabel) faults.push("no label: " + field.name);
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the screen");
  for (const box of document.querySelectorAll("main button:not([hidden]), main a, nav a"))
    if (box.checkVisibility() && box.getBoundingClientRect().height < 40)
      faults.push("too small for a thumb: " + box.textContent);
  return faults;
}"""


@pytest.fixture(scope="module")
def device() -> Iterator[WholeDevice]:
    with WholeDevice("--no-provision", "--load=16,10,-6") as device:
        device.hear("opens its access point")
        answers(device.portal)
        yield device
    assert not [line for line in device.words if "crashed" in line or "MemoryError" in line]


def answers(port: int) -> None:
    """Waits until the page's server listens: a moment after the access point opens."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def browser(device: WholeDevice) -> Iterator[Any]:
    """A phone's browser on the device's access point: every name leads to the device."""
    from playwright.sync_api import sync_playwright

    chromium = program("chromium", "chromium-browser")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-proxy-server",
                f"--host-resolver-rules=MAP * 127.0.0.1:{device.portal}",
            ],
        )
        yield browser
        browser.close()


def opened(browser: Any, **options: Any) -> Any:
    """The page a phone opens by itself, after its probe of the internet."""
    options = {"viewport": PHONE, "locale": "en-GB", "service_workers": "block"} | options
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(150_000)
    page.goto("http://connectivitycheck.gstatic.com/generate_204")
    assert page.url == "http://192.168.251.1/"
    return page


def picture(page: Any, name: str) -> None:
    folder = os.environ.get("AMPGUARD_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def submit(page: Any, password: str) -> None:
    page.get_by_label(HOME).check()
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Submit").click()


def online(page: Any) -> None:
    """From the form to the network, where no test before this one brought the device there."""
    if page.get_by_text("Online on").count() == 0:
        submit(page, PASSWORD)
        page.get_by_text("The load balancer answers").wait_for()


def test_from_the_first_page_to_online(browser: Any, device: WholeDevice) -> None:
    page = opened(browser)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.get_by_label("Password", exact=True).fill("fel-losenord")
    page.get_by_role("button", name="Show").click()
    assert page.locator("#password").get_attribute("type") == "text"
    picture(page, "form")
    submit(page, "fel-losenord")
    page.get_by_role("heading", name="Connecting to").wait_for()
    page.get_by_role("heading", name="The password is wrong").wait_for()
    picture(page, "wrong-password")
    page.get_by_role("link", name="Try again").click()
    assert page.get_by_label(HOME).is_checked()
    submit(page, PASSWORD)
    page.get_by_role("heading", name=f"Online on {HOME}").wait_for()
    page.get_by_text("The load balancer answers").wait_for()
    picture(page, "online")
    page.get_by_role("link", name="Check the wiring").click()
    page.get_by_text("out of the building").wait_for()
    first = page.locator("#i0").text_content()
    assert first.startswith(("15.", "16."))
    device.put("/plant", {"i": [25, 10, -6]})
    page.wait_for_function("() => document.getElementById('i0').textContent.startsWith('2')")
    picture(page, "wiring")
    page.get_by_role("link", name="Details", exact=True).click()
    page.get_by_text("AG100042317G", exact=True).wait_for()
    picture(page, "details")
    page.get_by_role("link", name="Change the load balancer").click()
    picture(page, "provider")
    page.get_by_label("Port").fill("0")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("number from 1 to 65535").wait_for()
    assert [line for line in errors if "400" not in line] == []  # the refused form
    page.context.close()


def test_a_network_that_is_gone_is_told_and_found_again(browser, device) -> None:
    page = opened(browser)
    online(page)
    page.goto("http://192.168.251.1/status")
    try:
        device.put("/net", {"internet": "refused"})
        page.get_by_text("The load balancer refuses connections").wait_for()
        picture(page, "cloud-refused")
        device.put("/net", {"internet": "up", "wifi": "down"})
        page.get_by_role("heading", name=f"Connecting to {HOME}").wait_for()
    finally:
        device.put("/net", {"internet": "up", "wifi": "up"})
    page.get_by_text("The load balancer answers").wait_for()
    page.context.close()


def test_without_script_the_story_is_the_same(browser: Any) -> None:
    page = opened(browser, viewport=SMALL, java_script_enabled=False)
    submit(page, "fel-losenord")
    page.get_by_role("heading", name="The password is wrong").wait_for()
    page.goto("http://192.168.251.1/")
    submit(page, PASSWORD)
    page.get_by_text("The load balancer answers").wait_for()
    page.context.close()


@pytest.mark.parametrize("script", [True, False])
def test_a_provider_that_does_not_answer_is_told_and_changes_nothing(browser, script) -> None:
    size = PHONE if script else SMALL
    page = opened(browser, viewport=size, java_script_enabled=script)
    online(page)

    def change(port: str) -> None:
        page.goto("http://192.168.251.1/provider")
        page.get_by_label("Port").fill(port)
        page.get_by_label("Encrypted").uncheck()
        page.get_by_label("Plain text").check()
        page.get_by_role("button", name="Save").click()

    change("1")
    page.get_by_role("heading", name="Nothing was changed").wait_for()
    page.get_by_text("The load balancer refuses connections").wait_for()
    if script:
        assert page.evaluate(FAULTS) == []
        picture(page, "provider-refused")
    page.get_by_role("link", name="Change the load balancer").click()
    page.get_by_label("Save it all the same").wait_for()
    assert page.get_by_label("Port").input_value() == "1"
    if script:
        assert page.evaluate(FAULTS) == []
        picture(page, "provider-again")
    change("1883")
    page.get_by_text("The load balancer answers").wait_for()
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_on_a_small_phone_in_every_language(browser, scheme) -> None:
    page = opened(browser, viewport=SMALL, color_scheme=scheme)
    for language, name in (
        ("en", "English"), ("fr", "Français"), ("sv", "Svenska"), ("de", "Deutsch"),
    ):  # fmt: skip
        if scheme == "dark" and language in ("fr", "sv"):
            continue  # colours speak no language
        if language != "en":
            page.get_by_role("link", name=name).click()
        for path in PAGES:
            page.goto("http://192.168.251.1" + path)
            assert page.locator("html").get_attribute("lang") == language
            assert page.evaluate(FAULTS) == [], (language, path)
            if (language, scheme) in {("de", "dark")} and path in {"/", "/wiring"}:
                picture(page, f"small-dark-{path[1:] or 'form'}")
            folder = os.environ.get("AMPGUARD_LOOK")  # every page, to be looked at
            if folder:
                shown = path[1:].replace("?", "-") or "form"
                page.screenshot(path=f"{folder}/{shown}-{language}-{scheme}.png", full_page=True)
    page.context.close()


def test_the_form_can_be_filled_in_with_a_keyboard_alone(browser: Any) -> None:
    page = opened(browser)
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "() => { const a = document.activeElement;"
                "return a.name || a.id || a.textContent.trim() }"
            )
        )
    order = [seen.index(name) for name in ("Wiring", "pick", "password", "show", "Submit")]
    assert order == sorted(order)
    page.goto("http://192.168.251.1/")
    networks = page.locator("input[name=pick]")
    networks.first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    assert networks.nth(2).is_checked()
    page.locator("label:has(input[name=pick])").nth(1).click()  # a thumb goes on to the password
    assert page.evaluate("() => document.activeElement.id") == "password"
    page.context.close()


def power_of_l3(device: WholeDevice, wanted: Callable[[float], bool]) -> None:
    """Waits until the broker is told such a power of L3."""
    device.until(
        "measurement",
        lambda m: m["p"][2] is not None and wanted(m["p"][2]),
        since=len(device.lines),
    )


def test_a_reversed_clamp_is_named_corrected_and_the_correction_taken_back(browser, device):
    page = opened(browser)
    online(page)
    page.goto("http://192.168.251.1/wiring")
    page.get_by_text("Clamp 3 is on L3 the wrong way round: turn it.").wait_for()
    picture(page, "wiring-fault")
    page.get_by_role("button", name="That is how they sit: correct").click()
    power_of_l3(device, lambda p: p > 1000)
    page.get_by_text("Nothing wrong was found").wait_for()
    picture(page, "wiring-corrected")
    page.get_by_role("button", name="Undo the correction").click()
    power_of_l3(device, lambda p: p < -1000)
    page.get_by_text("Clamp 3 is on L3 the wrong way round: turn it.").wait_for()
    page.get_by_role("button", name="That is how they sit: correct").click()
    power_of_l3(device, lambda p: p > 1000)
    page.context.close()


def test_what_is_found_while_the_wiring_page_loads_is_told(browser, device) -> None:
    page = opened(browser)
    online(page)
    portal = f"http://127.0.0.1:{device.portal}"

    def corrected(route: Any) -> None:
        """Between the page and its script: the clamp is corrected, and found to be right."""
        if corrections:
            urllib.request.urlopen(portal + "/wiring", corrections.pop(), timeout=60).close()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with urllib.request.urlopen(portal + "/live.json", timeout=60) as answer:
                live = json.load(answer)
            if live["settled"] and not live["findings"]:
                break
            time.sleep(0.5)
        route.continue_()

    corrections = [b"clamps=L1,L2,-L3"]
    page.route("**/portal.js", corrected)
    page.goto("http://192.168.251.1/wiring")
    page.get_by_text("Nothing wrong was found").wait_for()
    page.unroute("**/portal.js")
    page.get_by_role("button", name="Undo the correction").click()
    power_of_l3(device, lambda p: p < -1000)
    page.context.close()


def test_the_wifi_is_forgotten_after_a_tick_and_another_may_be_set(browser, device) -> None:
    page = opened(browser)
    online(page)
    page.goto("http://192.168.251.1/details")
    page.get_by_role("button", name="Forget the Wi-Fi").click()
    assert page.url.endswith("/details")  # the tick is missing
    page.get_by_label("Yes, forget network and password").check()
    page.get_by_role("button", name="Forget the Wi-Fi").click()
    page.get_by_role("heading", name="Connect to Wi-Fi").wait_for()
    page.goto("http://192.168.251.1/status")
    page.get_by_role("heading", name="Not connected").wait_for()
    page.goto("http://192.168.251.1/")
    submit(page, PASSWORD)
    page.get_by_text("The load balancer answers").wait_for()
    page.context.close()


def test_a_site_becomes_single_phase_with_the_restart_that_its_page_offers(browser, device):
    page = opened(browser)
    online(page)
    page.goto("http://192.168.251.1/wiring")
    page.get_by_role("link", name="Change the kind of site").click()
    page.get_by_label("One phase").check()
    page.get_by_label("Power can flow out: solar").check()
    picture(page, "site")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The number of phases changes with a restart").wait_for()
    assert device.until("info")["payload"]["phases"] == 3
    since = len(device.lines)
    page.get_by_role("button", name="Restart").click()
    page.get_by_role("heading", name="Restarting").wait_for()
    goodbye = device.until("status", lambda s: not s["online"], since=since)["payload"]
    assert goodbye["reason"] == "restart"
    info = device.until("info", lambda i: i["phases"] == 1, since=since)
    assert info["payload"]["reset_cause"] == "restart"
    since = device.lines.index(info)
    m = device.until("measurement", lambda m: m["p"][0], since=since)["payload"]
    assert m["p"][1:] == [None, None]
    page.context.close()
