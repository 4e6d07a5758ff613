"""What shows most with few validation images? The same final's trainings, measured in three ways.

    python -m results.search.measures digits results/search/digits-300.yaml

Students of the searches in the file are trained as the final trains them, with none and two rungs
of the ladder, on splits drawn anew, eight seeds each; a row of NAME.measures.csv for each. The
teachers are those that `results.search.run` left. `--show` prints how many standard errors each
measure is above none, and what the default's rule makes of it.
"""

import csv
import math
import shutil
import statistics
from pathlib import Path
from typing import Any

import click
import numpy as np

from results.recipes.run import append
from results.search.run import Run, Searches, label
from rolekd import yamlfiles

CANDIDATES = ("none", "geometry-3", "all-3")
SEEDS = 8
MEASURES = ("accuracy", "log_loss_as_is", "log_loss")


def measure(searches: Searches, number: int, teacher: str, file: Path) -> None:
    """Train the students of one search, and append their rows."""
    from rolekd.augment import ladder
    from rolekd.augment.policy import Policy
    from rolekd.augment.schedule import Schedule
    from rolekd.data import dataset as datasets
    from rolekd.search import member

    seen: list[Any] = []
    given = member.log_loss

    def as_is(logits: Any, labels: Any) -> float:
        wide = logits.astype(np.float64)
        wide -= wide.max(axis=1, keepdims=True)
        own = wide[np.arange(len(labels)), labels]
        seen.append(float(np.mean(np.log(np.exp(wide).sum(axis=1)) - own)))
        return given(logits, labels)

    member.log_loss = as_is
    inputs = searches.folder(number) / "inputs-measures"
    shutil.rmtree(inputs, ignore_errors=True)
    data = searches.data(searches.data_seed(number))
    datasets.save_splits(data, ("search_train", "search_val"), inputs / member.DATA)
    learns = Run(searches.data_seed(number), "student", teacher, "", 0)
    shutil.copy(searches.teacher(learns), inputs / member.TEACHER_FILE)
    spec = member.make_spec(
        searches.params.model_copy(update={"seed": number}), "student", inputs, {}
    )
    trainer = member.Member(spec, inputs, searches.folder(number))
    for seed in range(SEEDS):
        for name in CANDIDATES:
            policy = Policy.zeros() if name == "none" else ladder.policy(name)
            found = trainer.confirm(Schedule.constant(policy, spec.epochs), seed, spec.epochs)
            row = {
                "search": number,
                "candidate": name,
                "seed": seed,
                "accuracy": round(found.accuracy, 5),
                "log_loss_as_is": round(seen[-1], 5),
                "log_loss": round(found.extras["log_loss"], 5),
            }
            append(file, row)


def table(file: Path) -> str:
    """Return mean over standard error of each search's candidates, and how often one would win."""
    rows = list(csv.DictReader(file.open()))
    values = {(int(r["search"]), r["candidate"], int(r["seed"])): r for r in rows}
    numbers = sorted({number for number, _, _ in values})
    lines = ["| search | candidate | " + " | ".join(MEASURES) + " |", "|---" * 5 + "|"]
    wins = dict.fromkeys(MEASURES, 0)
    for number in numbers:
        best: dict[str, tuple[float, float]] = {}
        for name in CANDIDATES[1:]:
            cells = []
            for what in MEASURES:
                sign = 1 if what == "accuracy" else -1
                ours, none = (
                    [sign * float(values[number, which, seed][what]) for seed in range(SEEDS)]
                    for which in (name, "none")
                )
                gaps = [a - b for a, b in zip(ours, none, strict=True)]
                mean, error = statistics.fmean(gaps), statistics.stdev(gaps) / math.sqrt(SEEDS)
                cells.append(f"{mean:+.3f} ({mean / error:+.1f})")
                best[what] = max(best.get(what, (-math.inf, 0.0)), (mean, error))
            lines.append(f"| {number} | {name} | {' | '.join(cells)} |")
        for what, (mean, error) in best.items():
            wins[what] += mean > max(error, 0)
    told = ", ".join(f"{what} {count}" for what, count in wins.items())
    text = "\n".join(lines) + f"\n\nnone replaced, of {len(numbers)} searches: {told}\n"
    for what in MEASURES:
        shares = [f"{_share(values, numbers, what, seeds):.0%} with {seeds}" for seeds in (4, 6, 8)]
        text += f"{what}, over draws of so many of the seeds: {', '.join(shares)}\n"
    return text


def _share(values: Any, numbers: list[int], what: str, seeds: int) -> float:
    """Return how often the best candidate replaces none, over 200 draws of seeds per search."""
    random, wins = np.random.default_rng(0), 0
    sign = 1 if what == "accuracy" else -1
    for number in numbers:
        each = {
            name: sign * np.array([float(values[number, name, s][what]) for s in range(SEEDS)])
            for name in CANDIDATES
        }
        for _ in range(200):
            drawn = random.permutation(SEEDS)[:seeds]
            gaps = [(each[name] - each["none"])[drawn] for name in CANDIDATES[1:]]
            best = max(gaps, key=np.mean)
            wins += best.mean() > max(best.std(ddof=1) / math.sqrt(seeds), 0)
    return float(wins) / (200 * len(numbers))


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--show", is_flag=True, help="Only print the table of what is there.")
def main(place: str, file: Path, show: bool) -> None:
    """Train what is not in the file of rows yet, then print the table."""
    searches = Searches(file, place, yamlfiles.load(file))
    rows = searches.records("measures")
    done = {row["search"] for row in csv.DictReader(rows.open())} if rows.exists() else set()
    for found in csv.DictReader(searches.records("searches").open()):
        if not show and found["role"] == "teacher" and found["search"] not in done:
            number = int(found["search"])
            measure(searches, number, label(number, found["winner"], ""), rows)
    click.echo(table(rows), nl=False)


if __name__ == "__main__":
    main()
