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
    parser.add_argument("--share", type=float, default=1.0, help="of the 10,000 cases")
    parser.add_argument("--case", type=int, help="only this one of a target")
    chosen = parser.parse_args()
    results = {}
    for name in [chosen.target] if chosen.target else harness.TARGETS:
        if chosen.case is not None:
            results[name] = harness.fuzz(name, chosen.seed, range(chosen.case, chosen.case + 1))
        else:
            count = round(chosen.share * harness.TARGETS[name])
            results[name] = harness.fuzz(name, chosen.seed, harness.cases(count))
        tell(name, chosen.seed, results[name])
    sys.stdout.write(harness.table(results) + "\n")
    return int(any(result.faults for result in results.values()))


def tell(name: str, seed: int, result: harness.Result) -> None:
    """Print the faults of a target and keep their files."""
    for number, kind, cause in result.faults:
        sys.stdout.write(f"{name} {number}: {kind}: {cause}\n")
    if result.faults:
        again = f"make fuzz TARGET={name} SEED={seed} CASE={result.faults[0][0]}"
        sys.stdout.write(f"their files are in {FAILURES}; the first once more: {again}\n")
        sys.stdout.flush()
        harness.keep(name, seed, result, FAILURES)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
