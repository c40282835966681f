"""`report.html` in headless Chromium: every figure filled, nothing on the console, no request leaving the page.

Reports of drawn runs, of a shortened quickstart, and of whatever run folder EDGEFW_REPORT_OF names (`runs/quickstart`).
Chromium is spoken to over a pipe (its DevTools protocol, one JSON message per null byte), so nothing but the browser is
needed; without one the tests are skipped. EDGEFW_KEEP_SCREENSHOTS names a folder that gets the pictures.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
)

FIGURES = """
[...document.querySelectorAll('svg.figure')].map(svg => {
  const frame = svg.getBoundingClientRect();
  const outside = [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
  });
  return {
    title: svg.querySelector('title').textContent,
    shapes: svg.querySelectorAll('rect, circle, path').length,
    outside: outside.map(text => text.textContent),
    box: [frame.left + scrollX, frame.top + scrollY, frame.right + scrollX, frame.bottom + scrollY],
  };
})
"""


class Browser:
    """A Chromium with one page. Keeps every console message and every request."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        browser = [str(CHROMIUM), *OPTIONS.split(), f"--user-data-dir={profile}", "--window-size=1120,900"]
        self._process = subprocess.Popen(  # Chromium reads from 3 and writes to 4; the shell gives it these numbers
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *browser],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser),
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer, self.events = 0, b"", list[dict[str, Any]]()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda event: event.get("id") == self._number)
        assert "error" not in answer, answer
        return answer["result"]  # type: ignore[no-any-return]

    def open(self, page: Path) -> None:
        """Load a page and everything in it."""
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self._wait(lambda event: event.get("method") == "Page.loadEventFired")

    def value(self, script: str) -> Any:
        """What an expression gives in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def console(self) -> list[str]:
        """Everything that was said on the console, errors of the browser included."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(event["params"]) for event in self.events if event.get("method") in kinds]

    def screenshot(self, whole: bool = True) -> Image.Image:
        """The page as a picture."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._in)
        os.close(self._out)

    def _wait(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while True:
            while b"\0" in self._buffer:
                line, self._buffer = self._buffer.split(b"\0", 1)
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                if wanted(event):
                    return event
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            assert data, "the browser ended or does not answer"
            self._buffer += data


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def check_page(browser: Browser, page: Path) -> Image.Image:
    """Open a report, assert what must hold for every one, and give its picture."""
    browser.open(page)
    height = browser.value("document.documentElement.scrollHeight")
    browser.call("Emulation.setDeviceMetricsOverride", width=1120, height=height, deviceScaleFactor=1, mobile=False)
    figures = browser.value(FIGURES)
    images = browser.value("[...document.images].map(i => [i.alt, i.complete && i.naturalWidth])")
    wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    picture = browser.screenshot()
    assert browser.console() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert wide == 0, "the page is wider than its window"
    assert all(alt and width for alt, width in images), images
    assert [figure["title"] for figure in figures if figure["outside"]] == []
    for figure in figures:
        assert figure["shapes"] >= 2, figure["title"]
        colours = picture.crop(tuple(round(side) for side in figure["box"])).getcolors(1 << 20)
        assert colours and len(colours) > 12, f"{figure['title']} is blank"
    _keep(picture, page.parent.name)
    return picture


def _keep(picture: Image.Image, name: str) -> None:
    folder = os.environ.get("EDGEFW_KEEP_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        picture.save(Path(folder) / f"{name}.png")


def test_a_full_report_is_filled_quiet_and_alone(
    browser: Browser, tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    from edgefw.reporting.html import write_report

    picture = check_page(browser, write_report(write_run(tmp_path / "full")))
    assert picture.height > 3000
    assert browser.value("document.querySelectorAll('svg.figure').length") == 13
    assert browser.value("document.querySelectorAll('.absent').length") == 0
    assert browser.value("document.images.length") == 8 + 2  # disagreements and curated samples


def test_an_unfinished_report_is_quiet_too(browser: Browser, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    from edgefw.reporting.html import write_report

    folder = write_run(tmp_path / "early", leave_out=("verify", "train", "result.json"))
    check_page(browser, write_report(folder))
    assert browser.value("document.querySelectorAll('.absent').length") >= 6


def test_a_comparison_is_quiet_too(browser: Browser, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    from edgefw.reporting.compare import compare, write_comparison

    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", fails=True)]
    check_page(browser, write_comparison(compare(runs), tmp_path / "comparison" / "compare.html"))


@pytest.fixture
def finished_run(tmp_path: Path, quick_quickstart: tuple[str, ...]) -> Path:
    """A run as the command line leaves it: the one that EDGEFW_REPORT_OF names, or a shortened quickstart."""
    named = os.environ.get("EDGEFW_REPORT_OF")
    if named:
        return Path(named).resolve()
    command = [sys.executable, "-m", "edgefw", "run", "quickstart", *quick_quickstart, "--out", "run"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "run"


def test_the_report_of_a_finished_run_is_filled_quiet_and_alone(browser: Browser, finished_run: Path) -> None:
    check_page(browser, finished_run / "report.html")
    assert browser.value("document.querySelectorAll('svg.figure').length") >= 8
    assert browser.value("document.querySelectorAll('.absent').length") == 0
    assert browser.value("document.images.length") > 0


def test_the_content_policy_stops_what_an_observer_slips_in(
    browser: Browser, tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    from edgefw.contracts.run import ReportSection
    from edgefw.reporting.html import write_report

    html = '<img src="http://127.0.0.1:9/pixel.png" alt="pixel"><script>document.title = "changed"</script>'
    browser.open(write_report(write_run(tmp_path), [ReportSection(title="Tracker", html=html)]))
    assert "quickstart" in browser.value("document.title")
    assert browser.console() != []  # and so the checks above would have seen it


def test_the_checks_would_see_a_request(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "leaky.html"
    page.write_text('<!doctype html><img src="http://127.0.0.1:9/pixel.png"><script>console.error("x")</script>')
    browser.open(page)
    assert "http://127.0.0.1:9/pixel.png" in browser.requests()
    assert browser.console() != []
