"""`make fuzz`: many cases of every target, or one again."""

import argparse
import sys
from pathlib import Path

from fuzz import harness

FAILURES = Path("build/fuzz")


def main() -> int:
    """Fuzz; the exit code is 1 where a case failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", choices=list(harness.TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10_000, help="of all targets")
    parser.add_argument("--case", type=int, help="only this one of a target")
    chosen = parser.parse_args()
    names = [chosen.target] if chosen.target else list(harness.TARGETS)
    shares = {name: harness.TARGETS[name] for name in names}
    results = {}
    for name in names:
        count = -(-chosen.cases * shares[name] // sum(shares.values()))
        numbers = range(count) if chosen.case is None else [chosen.case]
        results[name] = harness.fuzz(name, chosen.seed, numbers)
        for number, kind, cause in results[name].faults:
            harness.keep(name, chosen.seed, number, f"{kind}: {cause}", FAILURES)
            sys.stdout.write(f"{name} {number}: {kind}: {cause}\n")
            sys.stdout.flush()
    sys.stdout.write(harness.table(results) + "\n")
    faults = sum(len(result.faults) for result in results.values())
    if faults:
        sys.stdout.write(
            f"{faults} cases failed; their files are in {FAILURES}; again: "
            f"make fuzz TARGET=... SEED={chosen.seed} CASE=...\n"
        )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
