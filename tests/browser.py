"""A headless Chromium, driven by its DevTools protocol over two pipes."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("google-chrome", "chromium")
# no sandbox, as root has none; no network of its own, which the page does not need either
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars"
    " --no-first-run --disable-background-networking --remote-debugging-pipe"
)


class Browser:
    """One tab of a browser; `requests` are the addresses that it has asked for."""

    def __init__(self, answers: int, commands: int) -> None:
        self.answers, self.commands = os.fdopen(answers, "rb"), os.fdopen(commands, "wb")
        self.rest, self.count, self.session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")
        self.session = self.ask("Target.attachToTarget", **target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while (answer := self.hear()).get("id") != self.count:
            pass
        assert "result" in answer, answer
        return answer["result"]

    def hear(self) -> dict[str, Any]:
        """Wait for the next message, and note what it tells of the page."""
        while b"\0" not in self.rest:
            part = self.answers.read1()
            assert part, "the browser has ended"
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
        return message

    def open(self, path: Path) -> None:
        self.requests.clear()
        self.complaints.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while self.hear().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript, of a promise what it becomes."""
        options = {"returnByValue": True, "awaitPromise": True}
        done = self.ask("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def look(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser that is installed, with a new profile."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, f"install one of {', '.join(BROWSERS)}: .ci/test says how"
    from_here, to_there = os.pipe()
    from_there, to_here = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = f"exec {shlex.quote(program)} {OPTIONS} --user-data-dir={shlex.quote(profile)}"
        process = subprocess.Popen(
            ["bash", "-c", f"{command} 3<&{from_here} 4>&{to_here}"],
            pass_fds=(from_here, to_here),
            stderr=subprocess.DEVNULL,
        )
        os.close(from_here)
        os.close(to_here)
        try:
            yield Browser(from_there, to_there)
        finally:
            process.terminate()
            process.wait()
