"""Pages in a real browser, without a driver for it: a page that looks at pages, and reports what it saw."""

import json
import shutil
import subprocess
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1000,700",
]

# Every page has a frame of its own, one after the other, so that one start of the browser is enough.
_LOOK = """<!doctype html><meta charset="utf-8"><body style="margin: 0"><script>
(async () => {
  const seen = {};
  for (const [name, [page, script]] of Object.entries(PAGES)) {
    const frame = document.createElement("iframe");
    frame.style = "width: 1000px; height: 700px; border: 0";
    frame.srcdoc = page;
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
    document.body.append(frame);
    await loaded;
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);  // observers of sizes report in the first
    const uncaught = [];
    frame.contentWindow.addEventListener("error", (event) => uncaught.push(event.message));
    try {
      const look = frame.contentWindow.eval(`(async () => { ${script} })`);
      seen[name] = { value: await look() };
    } catch (error) {
      seen[name] = { error: String(error.stack) };
    }
    if (uncaught.length) seen[name] = { error: uncaught.join() };
    frame.remove();
  }
  await fetch("/", { method: "POST", body: JSON.stringify(seen) });
})();
</script>"""


@contextmanager
def served(folder, instead=None, reports=None):
    """The address of a server of a folder.

    `instead` has files that stand for paths with certain endings; what is posted is put into the queue of reports.
    """
    instead = instead or {}

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def translate_path(self, path):
            file = next((file for ending, file in instead.items() if path.endswith(ending)), None)
            return super().translate_path(path) if file is None else str(file)

        def do_POST(self):
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def reported(reports, page, *options, seconds, console=subprocess.DEVNULL):
    """What a page reports when the browser opens it; the browser's console is written to a file."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as profile,  # the browser may still be writing to it
        subprocess.Popen(
            [BROWSER, *OPTIONS, *options, f"--user-data-dir={profile}", page],
            stdout=subprocess.DEVNULL,
            stderr=console,
        ) as browser,
    ):
        try:
            return reports.get(timeout=seconds)
        except Empty:
            raise AssertionError(f"{BROWSER} reported nothing within {seconds} s") from None
        finally:
            browser.terminate()


def look(pages, seconds=90):
    """What the script of each page returned: of pages, a mapping of names to (HTML, JavaScript)."""
    reports = Queue()
    with TemporaryDirectory() as folder, served(folder, reports=reports) as server:
        text = _LOOK.replace("PAGES", json.dumps(pages).replace("<", r"\u003c"))
        Path(folder, "look.html").write_text(text, encoding="utf-8")
        return reported(reports, f"{server}/look.html", seconds=seconds)
