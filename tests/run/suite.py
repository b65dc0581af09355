"""`make test`: the parts one after another, the lab starting beside lint and package, what needs no lab beside those on it.

Every part is a make target of its own. A part over its budget is told, not failed: machines differ, and a
test that fails by the clock fails at random. The last line counts the parts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache/test"


@dataclass(frozen=True)
class Part:
    target: str
    budget: int  # seconds
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    part: Part
    code: int
    seconds: float

    def row(self) -> str:
        verdict = "passed" if self.code == 0 else f"FAILED ({self.code})"
        over = "  over its budget" if self.seconds > self.part.budget else ""
        return f"{self.part.target:<12} {verdict:<12} {self.seconds:>7.0f} s of {self.part.budget:>5} s{over}"


LAB = Part("lab-up", 240)
QUICK = (Part("lint", 120), Part("package", 60))
# On the lab most of the time is spent waiting for services: the other core can work meanwhile.
BESIDE = (Part("sanity", 300), Part("unit", 900), Part("loopback", 400))
BESIDE_FULL = (Part("sanity", 300), Part("unit", 2400, ("FULL=1",)), Part("loopback", 400))
ON_THE_LAB = (Part("verifiers", 60), Part("integration", 1500), Part("faults", 900, ("QUICK=1",)))
ON_THE_LAB_FULL = (Part("verifiers", 60), Part("integration", 7200, ("FULL=1",)), Part("faults", 1800))


class Running:
    """A part under way; its output goes to the terminal, or to a log that is shown when it ends."""

    def __init__(self, part: Part, *, log: Path | None = None) -> None:
        self.part = part
        self.log = log
        self.started = time.monotonic()
        print(f"=== {part.target}: up to {part.budget} s{', in the background' if log else ''}", flush=True)
        command = ["make", "--no-print-directory", part.target, *part.arguments]
        if log:
            command = ["nice", "-n", "5", *command]
        output = log.open("w", encoding="utf-8") if log else None
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        if output:
            output.close()
        self.ended = self.started
        # Its end is noted when it comes, not when somebody asks.
        self.watch = threading.Thread(target=self._wait)
        self.watch.start()

    def _wait(self) -> None:
        self.process.wait()
        self.ended = time.monotonic()

    def result(self) -> Result:
        self.watch.join()
        result = Result(self.part, self.process.returncode, self.ended - self.started)
        if self.log:
            print(f"=== {self.part.target}: what it said in the background")
            print(self.log.read_text(encoding="utf-8"), end="")
        print(f"=== {self.part.target}: ended with {result.code} after {result.seconds:.0f} s", flush=True)
        return result


class Beside:
    """Parts one after another in the background."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self._running: list[Running] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for part in self._parts:
            self._running.append(Running(part, log=LOGS / f"{part.target}.log"))
            self._running[-1].watch.join()

    def results(self) -> list[Result]:
        """How they ended, and what they said, when all of them have."""
        self._thread.join()
        return [running.result() for running in self._running]


def run(*, full: bool) -> list[Result]:
    LOGS.mkdir(parents=True, exist_ok=True)
    lab = Running(LAB, log=LOGS / "lab-up.log")
    results = []
    try:
        results += [Running(part).result() for part in QUICK]
    finally:
        # Also when interrupted: a lab that is left half-started costs the next run more than the wait.
        results.append(lab.result())
    is_up = results[-1].code == 0
    beside = Beside(BESIDE_FULL if full else BESIDE)
    try:
        for part in ON_THE_LAB_FULL if full else ON_THE_LAB:
            if is_up:
                results.append(Running(part).result())
            else:
                print(f"=== {part.target}: not run, there is no lab", flush=True)
                results.append(Result(part, 1, 0.0))
    finally:
        results += beside.results()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also what takes minutes per test")
    started = time.monotonic()
    results = run(full=parser.parse_args().full)
    failed = [result for result in results if result.code != 0]
    print("\npart         result          used    budget")
    for result in results:
        print(result.row())
    print(f"{'all':<12} {'':<12} {time.monotonic() - started:>7.0f} s")
    print(f"parts: {len(results) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
