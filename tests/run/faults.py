"""`make faults`: every fault test on the lab, a table for people, and as the last line one JSON object.

A fault counts as survived when its test has shown so; one whose test broke off has not been shown to be safe. The last
line: {"faults": how many were tried, "survived": how many, "unsafe": [the others]}.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT / ".cache/test/faults.jsonl"
HEADINGS = ("fault", "seen by the operator", "served meanwhile", "time to safe", "next run")
WIDTHS = (34, 52, 34, 12, 22)
# pytest's exit code when no test was selected
NONE_SELECTED = 5


def run_tests(*, only: str, quick: bool) -> int:
    """pytest's exit code; its rows are in ROWS."""
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "tests/faults", "--durations=5"]
    if only:
        command += ["-k", only]
    if quick:
        command += ["-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": ".dev", "CERTFLEET_FAULT_ROWS": str(ROWS)}
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def read_rows() -> list[dict[str, Any]]:
    """One row a fault, in the order of the tests. A fault that has two (its test, and what came after it) is as bad as the worse."""
    rows: dict[str, dict[str, Any]] = {}
    for line in ROWS.read_text(encoding="utf-8").splitlines() if ROWS.exists() else ():
        row = json.loads(line)
        earlier = rows.get(row["name"])
        rows[row["name"]] = {**earlier, "unsafe": earlier["unsafe"] or row["unsafe"]} if earlier else row
    return list(rows.values())


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The texts of a row."""
    seen = f"NOT SAFE: {row['unsafe']}" if row["unsafe"] else str(row.get("seen") or "")
    seconds = row.get("seconds_to_safe")
    shown = "-" if seconds is None else "at once" if seconds == 0 else f"{seconds:.1f} s"
    return (str(row["fault"]), seen, str(row.get("served") or ""), shown, str(row.get("next_run") or ""))


def table(rows: list[dict[str, Any]]) -> str:
    """All rows, with wrapped cells."""
    lines = [_line(HEADINGS), "  ".join("-" * width for width in WIDTHS)]
    for row in rows:
        wrapped = [textwrap.wrap(text, width) for text, width in zip(cells(row), WIDTHS, strict=True)]
        height = max(len(cell) for cell in wrapped)
        columns = [[*cell, *[""] * (height - len(cell))] for cell in wrapped]
        lines += [_line(parts) for parts in zip(*columns, strict=True)]
    return "\n".join(lines)


def _line(parts: tuple[str, ...]) -> str:
    return "  ".join(part.ljust(width) for part, width in zip(parts, WIDTHS, strict=True)).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the faults whose names match (pytest -k)")
    parser.add_argument("--quick", action="store_true", help="without those that take minutes")
    given = parser.parse_args()
    code = run_tests(only=given.only, quick=given.quick)
    if code == NONE_SELECTED:
        print(f"no fault matches '{given.only}'; their names are those of the tests in tests/faults", file=sys.stderr)
    rows = read_rows()
    unsafe = [str(row["name"]) for row in rows if row["unsafe"]]
    print(f"\n{table(rows)}\n")
    print(json.dumps({"faults": len(rows), "survived": len(rows) - len(unsafe), "unsafe": unsafe}), flush=True)
    return 1 if unsafe or code else 0


if __name__ == "__main__":
    sys.exit(main())
