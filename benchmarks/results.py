"""Where measurements are kept: one JSON file per part, beside the page that shows them."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs/assets/benchmarks"
QUICK = ROOT / "build/benchmarks"  # a quick try does not touch what the documentation shows


def arguments(description: str | None, **extra: Mapping[str, Any]) -> argparse.Namespace:
    """The command line of a part: ``--quick`` and ``--again``, and what it takes besides."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds of a part of it, in about a minute")
    parser.add_argument("--again", action="store_true", help="keep the settings that the last run chose for the peers")
    for name, options in extra.items():
        parser.add_argument(f"--{name}", **options)
    return parser.parse_args()


class Results:
    """The rows of one part: written after each, so that an interrupted run keeps what it has."""

    def __init__(self, part: str, *, quick: bool, fresh: bool = True) -> None:
        self.path = (QUICK if quick else KEPT) / f"{part}.json"
        self.rows: list[dict[str, Any]] = []
        if not fresh and self.path.exists():
            self.rows = json.loads(self.path.read_text())["rows"]

    def add(self, key: Iterable[str], row: dict[str, Any]) -> None:
        """Add a row; it replaces the one with the same values under `key`."""
        row = {**row, "load": round(os.getloadavg()[0], 2), "time": f"{dt.datetime.now():%Y-%m-%d %H:%M}"}
        places = [i for i, old in enumerate(self.rows) if all(old[k] == row[k] for k in key)]
        if places:
            self.rows[places[0]] = row
        else:
            self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = ",\n  ".join(json.dumps(row) for row in self.rows)
        self.path.write_text(f'{{\n "machine": {json.dumps(machine())},\n "rows": [\n  {lines}\n ]\n}}\n')


def load(part: str, *, quick: bool = False) -> dict[str, Any]:
    """The machine and the rows of a part; no rows if it has not run."""
    path = (QUICK if quick else KEPT) / f"{part}.json"
    return json.loads(path.read_text()) if path.exists() else {"machine": {}, "rows": []}
