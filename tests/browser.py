"""A real Chromium without a window, driven by the DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REASON = "needs Chromium: `apt-get install chromium`"
_SECONDS = 90.0


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not in the way of the descriptors that the browser is to have."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Browser:
    """A browser with one tab, and what that has complained of. Every method raises AssertionError after 30 s."""

    def __init__(self, folder: Path, prefix: Sequence[str] = ()) -> None:
        """``prefix`` is a command that runs the browser elsewhere, such as nsenter(1); ``folder`` is for its files."""
        assert PROGRAM, REASON
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        words = [
            # The protocol's pipes are the descriptors 3 and 4.
            *("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"),
            *prefix,
            PROGRAM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--remote-debugging-pipe", "--hide-scrollbars", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-proxy-server"),
            *(f"--user-data-dir={folder}", "about:blank"),
        ]
        environment = {**os.environ, "HOME": str(folder), "TZ": "UTC", "LANG": "C.UTF-8"}
        self._log = (folder / "chromium.log").open("wb")
        self._process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(theirs_in, theirs_out),
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """Errors and warnings of the console, exceptions nobody caught, and breaches of the page's policy."""
        self._session: str | None = None
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._in, 1 << 20)
            assert read, f"the browser has ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}"
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        return cast("dict[str, Any]", json.loads(text))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + _SECONDS
        while True:
            answer = self._receive(until)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return cast("dict[str, Any]", answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        if event.get("method") == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        if event.get("method") == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def open(self, url: str) -> None:
        """Go there, and wait until the page is loaded."""
        found = self._call("Page.navigate", url=url)
        assert "errorText" not in found, f"{url}: {found['errorText']}"
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """What an expression yields, as JSON has it."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = _SECONDS) -> float:
        """Seconds until the expression is true; AssertionError when that takes longer than ``seconds``."""
        start = time.monotonic()
        while not self.run(script):
            waited = time.monotonic() - start
            assert waited < seconds, f"not within {seconds:g} s: {script}"
            time.sleep(0.05)
        return time.monotonic() - start

    def press(self, key: str) -> None:
        """Press and release a key; one that is a character is typed."""
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0)
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def look_like(self, width: int, height: int, scheme: str = "light", scale: float = 1) -> None:
        """Be a screen of this many CSS pixels, in a colour scheme, ``scale`` pixels to each of them."""
        is_phone = width < 600
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )
        # Without motion, so that nothing is looked at while it comes.
        wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self._call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """The page as a PNG; the whole page, or ``height`` CSS pixels of its top."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """End it, with everything that it has started."""
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self._call("Browser.close")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        self._log.close()


@contextmanager
def browsing(folder: Path, prefix: Sequence[str] = ()) -> Generator[Browser]:
    """A browser while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    browser = Browser(folder, prefix)
    try:
        yield browser
    finally:
        browser.close()
