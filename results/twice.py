"""Trainings that were made on two machines by mistake: how far apart are they?

    python -m results.twice

At commit 7c8acbd the study's cells had the rows of both; since then only the first is kept.
"""

import csv
import io
import subprocess
from collections import defaultdict

import click
import numpy as np

from rolekd.report.statistics import paired_p_value

CELLS = "7c8acbd:results/records/2026-11-26-roles/cells.csv"


@click.command()
def main() -> None:
    """Print the differences of cores and GPU in points, their mean and its exact p."""
    csv.field_size_limit(1 << 24)
    text = subprocess.run(["git", "show", CELLS], capture_output=True, text=True, check=True).stdout
    found: defaultdict[str, dict[bool, float]] = defaultdict(dict)
    for row in csv.DictReader(io.StringIO(text)):
        if row["data set"] == "cifar10":
            found[row["training"]]["NVIDIA" in row["machine"]] = 100 * float(row["accuracy"])
    gaps = np.array([both[False] - both[True] for both in found.values() if len(both) == 2])
    told = ", ".join(f"{gap:+.2f}" for gap in gaps)
    click.echo(f"{told}: mean {gaps.mean():+.2f}, p = {paired_p_value(gaps):.2f}")


if __name__ == "__main__":
    main()
