"""Whether everyone can read the site: axe-core looks at every page of it, for `make check-site`.

Contrast, labels, the order of headings and what else its rules can tell, in light and in dark, at the width of a desk
and of a phone. axe-core comes from npm, so `make test` does without.
"""

import sys
from collections import defaultdict
from pathlib import Path

from tests.support.browser import BROWSER, NAMES
from tests.support.site import DESK, PHONE, look, pages

RUN = """
(async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, any, all, none }) =>
    [`${id}: ${help}`, `${target}: ${[...any, ...all, ...none].map((check) => check.message).join("; ")}`]));
})()"""


def violations(site, axe):
    """By rule, on which page and in which place it is broken; and what the browser wrote to its console."""
    found = defaultdict(list)
    for size in (DESK, PHONE):
        for scheme in ("default", "slate"):
            seen, console = look(site, pages(site), axe + RUN, size=size, scheme=scheme, seconds=1800)
            for page, entry in seen.items():
                for rule, place in entry["value"]:
                    found[rule].append(f"{page}, {size[0]} pixels, {scheme}: {place}")
            found["console"] += console
    return {rule: places for rule, places in found.items() if places}


def main(site, axe):
    if BROWSER is None:
        sys.exit(f"there is no browser to look with: install one of {', '.join(NAMES)}")
    found = violations(Path(site).resolve(), Path(axe).read_text(encoding="utf-8"))
    for rule, places in found.items():
        print(rule, *places[:20], sep="\n  ")
        if len(places) > 20:
            print(f"  and {len(places) - 20} more")
    if found:
        sys.exit(1)
    print(f"{len(pages(Path(site)))} pages, light and dark, on a desk and on a phone: no violations")


if __name__ == "__main__":
    main(*sys.argv[1:])
