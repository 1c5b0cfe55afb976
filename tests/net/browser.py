"""Drives Debian's Chromium over the DevTools protocol, by two pipes: no port, and no library."""

import base64
import json
import os
import select
import subprocess
import time

from lab import GIVE_UP_S, Failed, expect, wait_until

WORDS = [
    *["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--hide-scrollbars", "--disable-renderer-backgrounding", "--disable-background-timer-throttling"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"],
    *["--disable-default-apps", "--mute-audio", "--remote-debugging-pipe"],
]


class Browser:
    """A browser with one page. It keeps what the page asks for, and what it complains of."""

    def __init__(self, lab, namespace=None):
        self.number, self.read = 0, b""
        self.requests, self.complaints = [], []
        # The browser reads commands from its descriptor 3 and answers on 4.
        command_in, self.command = os.pipe()
        self.answer, answer_out = os.pipe()
        prefix = ["ip", "netns", "exec", namespace] if namespace else []
        words = [*prefix, *WORDS, f"--user-data-dir={lab.folder / 'profile'}", "about:blank"]
        with open(lab.folder / "browser.err", "wb") as err:
            shell = ["sh", "-c", f'exec "$@" 3<&{command_in} 4>&{answer_out}', "sh", *words]
            self.process = subprocess.Popen(
                shell, stdin=subprocess.DEVNULL, stdout=err, stderr=err, pass_fds=(command_in, answer_out)
            )
        os.close(command_in)
        os.close(answer_out)
        self.ended = False
        lab.cleanup.callback(self.end)
        # Until then commands are for the browser as a whole.
        self.session = None
        wait_until(self.pages, "the browser to have its page")
        (page,) = self.pages()
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def pages(self):
        targets = self.ask("Target.getTargets")["targetInfos"]
        return [target["targetId"] for target in targets if target["type"] == "page"]

    def end(self):
        if self.ended:
            return
        self.ended = True
        if self.process.poll() is None:
            try:
                self.session = None
                self.ask("Browser.close")
            except (Failed, OSError):
                self.process.terminate()
            self.process.wait(GIVE_UP_S)
        for descriptor in (self.command, self.answer):
            os.close(descriptor)

    def ask(self, method, **params):
        """Sends a command; returns its result. What happens meanwhile is kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.command, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + GIVE_UP_S
        while True:
            found = self.next(until)
            if found.get("id") == self.number:
                expect("error" not in found, f"the browser refuses {method}: {found.get('error')}")
                return found["result"]
            self.keep(found)

    def next(self, until):
        while b"\0" not in self.read:
            ready, _, _ = select.select([self.answer], [], [], max(0, until - time.monotonic()))
            expect(ready, "the browser does not answer")
            data = os.read(self.answer, 1 << 20)
            expect(data, "the browser has ended")
            self.read += data
        message, self.read = self.read.split(b"\0", 1)
        return json.loads(message)

    def keep(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(params["args"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"])

    def save_to(self, folder):
        """Has what the page saves go to a folder, under the names that the page gives."""
        session, self.session = self.session, None
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.session = session

    def evaluate(self, expression):
        """Returns the value of an expression in the page."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        expect("exceptionDetails" not in result, f"{expression}: {result.get('exceptionDetails')}")
        return result["result"].get("value")

    def open(self, url, width=1600, height=1000):
        self.look(width, height)
        self.ask("Page.navigate", url=url)

    def look(self, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, name):
        """Has the reader's system prefer a `dark` or a `light` one."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def picture(self, path):
        data = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
