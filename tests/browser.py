"""A headless Chromium on a pipe: just enough of its DevTools protocol to open pages and listen.

The pipe (`--remote-debugging-pipe`) carries JSON messages that end in a zero byte: no port, no
websocket library. A message is either the reply to a command (same `id`) or an event.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass
class Visit:
    """What happened while one page was open."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """Requests for anything that is not a local file."""
    formulas: tuple[int, int] = (0, 0)
    """Formulas on the page, and how many of them were typeset."""
    answer: object = None
    """What the page said to what it was asked."""


class Browser:
    """One browser process; a tab at a time."""

    def __init__(self, executable: str, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The browser wants file descriptors 3 and 4, whatever numbers these pipes have here.
        command = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", executable, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._next_id = 0
        self._events: list[dict] = []

    def close(self) -> None:
        """End the browser, politely if it listens."""
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            self.call("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _message(self, seconds: float) -> dict | None:
        """Next message, or None after `seconds` without one."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], seconds)
            if not ready:
                return None
            data = os.read(self._read, 1 << 20)
            if not data:
                raise EOFError("the browser ended")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method: str, session: str | None = None, **params: object) -> dict:
        """Send one command and wait for its reply; events met on the way are kept."""
        self._next_id += 1
        command = {"id": self._next_id, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message(60)
            if message is None:
                raise TimeoutError(f"no reply to {method} within a minute")
            if message.get("id") != self._next_id:
                self._events.append(message)
                continue
            if "error" in message:
                raise RuntimeError(f"{method}: {message['error']['message']}")
            return message["result"]

    def visit(
        self,
        url: str,
        settle: float = 0.3,
        ask: str = "null",
        width: int = 1280,
        dark: bool = False,
    ) -> Visit:
        """Open `url`, wait until it is loaded and typeset and `settle` seconds more; then leave.

        `ask` is a JavaScript expression, evaluated at the end and waited for; its value must have a
        JSON form. The page is `width` pixels wide; `dark`: for a reader who prefers dark pages.
        """
        # A context of its own: each page is met as by a reader who has never been here.
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        target = target["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self._events.clear()
        self.call("Page.navigate", session, url=url)
        while (formulas := self._formulas(session)) is None:
            pass  # a page that leads on to another is left while it is asked
        end = time.monotonic() + settle
        while (left := end - time.monotonic()) > 0:
            message = self._message(left)
            if message is not None:
                self._events.append(message)
        asked = self.call(
            "Runtime.evaluate", session, expression=ask, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in asked:
            raise RuntimeError(asked["exceptionDetails"]["exception"]["description"])
        self._at_the_end(session)
        visit = Visit(formulas=formulas, answer=asked["result"].get("value"))
        for event in self._events:
            self._note(visit, event.get("method", ""), event.get("params", {}))
        self.call("Target.disposeBrowserContext", browserContextId=context)
        return visit

    def _at_the_end(self, session: str) -> None:
        """Whatever else is to be done with an open page."""

    def _formulas(self, session: str) -> tuple[int, int] | None:
        """Formulas of the page once it is loaded, and those typeset; None where it was left."""
        self._wait_for("Page.loadEventFired")
        self._events = [e for e in self._events if e.get("method") != "Page.loadEventFired"]
        try:
            found = self.call(
                "Runtime.evaluate",
                session,
                awaitPromise=True,
                returnByValue=True,
                expression="""(async () => {
                    if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
                    const count = (what) => document.querySelectorAll(what).length;
                    return [count('.math.notranslate'), count('.math.notranslate mjx-container')];
                })()""",
            )
        except RuntimeError as error:
            if "navigated" in str(error):
                return None
            raise
        return tuple(found["result"].get("value", (0, 0)))

    def _wait_for(self, method: str) -> None:
        end = time.monotonic() + 60
        while not any(event.get("method") == method for event in self._events):
            message = self._message(max(0.0, end - time.monotonic()))
            if message is None:
                raise TimeoutError(f"no {method} within a minute")
            self._events.append(message)

    @staticmethod
    def _note(visit: Visit, method: str, params: dict) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            visit.errors.append(f"{details['text']} {thrown}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            said = (str(arg.get("value", arg.get("description"))) for arg in params["args"])
            visit.errors.append(" ".join(said))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            visit.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(LOCAL):
                visit.requests.append(url)
