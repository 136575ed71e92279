"""The site, built as `make docs` builds it, and in a real browser.

There it is opened from disk, or from a server: a page beside it opens each of its pages in a frame, and reports what it
saw.

The frame is of a phone's width or of a desk's, in light or in dark. What the browser writes to its console comes back
too, and so does whatever a page asked for. No name has an address there, so that a request to a network fails.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from tests.support.browser import reported, served

ROOT = Path(__file__).parents[2]
PHONE, DESK = (390, 844), (1300, 850)

_MORE_OPTIONS = [
    *("--allow-file-access-from-files", "--enable-logging=stderr", "--window-size=1400,900"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",  # a mouse
]

_LOOK = """<!doctype html><meta charset="utf-8"><title>Look</title><body style="margin: 0"><script>
(async () => {
  const seen = [];
  for (const page of PAGES) {
    const frame = document.createElement("iframe");
    [frame.width, frame.height] = SIZE;
    frame.style.border = 0;
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
    frame.src = page;
    document.body.append(frame);
    await loaded;
    const { contentDocument, contentWindow } = frame;
    const still = contentDocument.createElement("style");
    still.textContent = "* { transition: none !important }";
    contentDocument.head.append(still);
    contentDocument.body.dataset.mdColorScheme = SCHEME;
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    const asked = contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name);
    let value;
    try {
      value = await contentWindow.eval(SCRIPT);
    } catch (error) {
      value = { error: String(error.stack) };
    }
    seen.push([page, { asked, value }]);
    frame.remove();
  }
  await fetch(ADDRESS, { method: "POST", mode: "no-cors", body: JSON.stringify(seen) });
})();
</script>"""


def arguments():
    """Those that `make docs` gives to mkdocs; without the program and the folder that it writes to."""
    (command,) = re.findall(r"^\t.*/mkdocs (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    words = shlex.split(command)
    return words[: words.index("--site-dir")]


def built(folder):
    """The site, in `folder`."""
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", *arguments(), "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder


def pages(site):
    """The paths of its pages within it, but for that which a server shows where there is none."""
    return [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html")) if path.name != "404.html"]


def look(site, paths, script, size=DESK, scheme="default", hosted=False, seconds=300):
    """What each page of the site asked for and what `script` is on it, by path; and the lines of the console.

    The script is JavaScript, an expression or a promise.
    """
    reports = Queue()
    with (
        TemporaryDirectory() as beside,
        open(f"{beside}/console", "w+", encoding="utf-8") as console,
        served(site, {"/look.html": f"{beside}/look.html"}, reports) as server,
    ):
        addresses = [f"{server}/{path}" if hosted else (site / path).as_uri() for path in paths]
        text = _LOOK
        known = {"PAGES": addresses, "SIZE": size, "SCHEME": scheme, "ADDRESS": server, "SCRIPT": script}
        for name, value in known.items():
            text = text.replace(name, json.dumps(value).replace("</", r"<\/"), 1)
        (Path(beside) / "look.html").write_text(text, encoding="utf-8")
        page = f"{server if hosted else f'file://{beside}'}/look.html"
        seen = reported(reports, page, *_MORE_OPTIONS, seconds=seconds, console=console)
        console.seek(0)
        lines = re.findall(r"CONSOLE.*", console.read())
    return dict(zip(paths, (entry for _, entry in seen), strict=True)), lines
