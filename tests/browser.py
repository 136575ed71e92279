"""Pages in a real browser, without a driver for it: a page that looks at pages, and writes down what it saw."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

_OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1000,700", "--virtual-time-budget=60000", "--dump-dom"),  # virtual: waiting takes no time
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
    await new Promise((resolve) => setTimeout(resolve, 100));  // observers of sizes report after the load
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
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
})();
</script>"""


def look(pages):
    """What the script of each page returned: of pages, a mapping of names to (HTML, JavaScript)."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the browser may still write to its profile
        file = Path(folder, "look.html")
        file.write_text(_LOOK.replace("PAGES", json.dumps(pages).replace("<", r"\u003c")), encoding="utf-8")
        done = subprocess.run(
            [BROWSER, *_OPTIONS, f"--user-data-dir={folder}/profile", file.as_uri()],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the browser wrote no result: {done.stdout[-500:]} {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1]))
