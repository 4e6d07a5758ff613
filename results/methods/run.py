"""Train students with every method of distillation, seed by seed, and compare them with none.

    python -m results.methods.run digits results/methods/digits.yaml
    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar     # or the official binary files
    python -m results.methods.run /tmp/cifar results/methods/cifar10.yaml
    python -m results.methods.run digits results/methods/digits.yaml --seeds 0  # the table alone

A file names parameters that differ from the preset `digits`: those of all methods in `base`, those
of each in `methods`; a method without any is the loss of that name. `for_choices` means that the
table has only validation images. Every (method, seed) is one row of the CSV file beside it, written
as soon as it is ready: run it again to resume. Students learn from one teacher,
`teacher.safetensors` in the folder `.NAME` beside the file, which is trained first if it is not
there. Trainings see a part of the official training images; another part, the validation images, is
for choices, and the test images are the official ones. Each training has one thread. The table goes
into results/methods.md, if that has a place with the file's name.
"""

import csv
import functools
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click
import numpy as np

from results.recipes.run import append, dataset_of, params_of
from rolekd import files, yamlfiles
from rolekd.report.statistics import holm, paired_p_value, t_interval

COLUMNS = ("method", "seed", "validation", "test", "training", "seconds")
PLAIN = "plain"
PAGE = Path(__file__).parents[1] / "methods.md"

Values = dict[str, dict[int, dict[str, float]]]  # method -> seed -> column -> number


def params_for(content: dict[str, Any], method: str) -> tuple[Any, bool]:
    """Return a method's parameters, and whether it distils at all."""
    changes = dict(content["methods"][method] or {"distill.loss": method})
    distilled = changes.pop("distilled", True)
    return params_of(content["base"], changes), distilled


@functools.cache
def _images(place: str, train: int, validation: int) -> tuple[Any, Any]:
    """Return the data set of the training and validation images, and the official test images."""
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    source = DataParams()
    if place != "digits":
        source = DataParams(source="cifar10", path=Path(place))
    return dataset_of(place, train, validation), prepare(source, 0).split("test")


class Run:
    """One training of a method: its data, networks and parameters."""

    def __init__(self, place: str, content: dict[str, Any], method: str, seed: int) -> None:
        import torch

        from rolekd.data.batches import Normalize
        from rolekd.train import devices

        torch.set_num_threads(1)
        devices.keep_memory()
        self.params, self.distilled = params_for(content, method)
        self.seed = seed
        self.data, self.test = _images(place, content["train"], content["validation"])
        self.normalize = Normalize(self.data)

    def teacher(self, folder: Path, augmentation: str) -> Any:
        """Return the teacher, trained with seed 0 if its file is not there."""
        from rolekd.distill.objective import Objective
        from rolekd.train import roles
        from rolekd.train.state import save_weights

        file = folder / "teacher.safetensors"
        if not file.exists():
            network, about = roles.teacher(self.params.teacher, self.data, 0)
            training = self.params.teacher.training
            self.fit(network, Objective(), training, folder / "teacher.state", augmentation)
            save_weights(file, network, about)
        return roles.load(file, self.data)

    def student(self, teacher: Any, kind: Any = None) -> tuple[Any, Any]:
        """Return a student from scratch and its objective, of the class `kind` if it distils."""
        from rolekd.distill.distillation import Distillation
        from rolekd.distill.objective import Objective
        from rolekd.train import roles

        student = roles.student(self.params.student, self.data, self.seed, None)
        if not self.distilled:
            return student[0], Objective()
        return student[0], (kind or Distillation)(student, teacher, self.params.distill, self.seed)

    def fit(
        self, network: Any, objective: Any, training: Any, state: Path, augmentation: str = "none"
    ) -> float:
        """Train to the end, on from `state` if it is there; return the training accuracy."""
        from rolekd.augment.named import NamedAugmentation
        from rolekd.data.batches import Batches
        from rolekd.train.augmentation import applied, make_engine
        from rolekd.train.fit import fit
        from rolekd.train.training import Training

        engine = make_engine(self.params.augment, self.data, 1)
        at = applied(engine, NamedAugmentation(augmentation).over(training.epochs))
        batches = Batches(self.data, "search_train", training.batch_size, self.seed, self.normalize)
        history = fit(Training(network, objective, batches, at, training), state)
        state.unlink()
        share: float = history[-1]["accuracy"]
        return share


def train_one(
    place: str, content: dict[str, Any], method: str, seed: int, folder: Path
) -> dict[str, Any]:
    """Train one method with one seed; return the row."""
    from rolekd.train.evaluate import accuracy, predict_integers

    run = Run(place, content, method, seed)
    network, objective = run.student(run.teacher(folder, content["teacher_augmentation"]))
    began = time.process_time()
    training = run.params.student.training
    share = run.fit(network, objective, training, folder / f"{method}-{seed}.state")
    seconds = round(time.process_time() - began, 1)
    found = [
        round(accuracy(predict_integers(network, images, run.data), labels), 5)
        for images, labels in (run.data.split("search_val"), run.test)
    ]
    row = (method, seed, *found, round(share, 4), seconds)
    return dict(zip(COLUMNS, row, strict=True))


def read(file: Path) -> Values:
    """Return the rows of a CSV file."""
    values: Values = {}
    for row in csv.DictReader(file.open()) if file.exists() else []:
        numbers = {column: float(row[column]) for column in COLUMNS[2:]}
        values.setdefault(row["method"], {})[int(row["seed"])] = numbers
    return values


def paired(values: Values, method: str, column: str) -> tuple[Any, Any]:
    """Return the accuracies % of a method and of plain, of the seeds that both have."""
    seeds = sorted(values[method].keys() & values.get(PLAIN, {}).keys())
    ours, theirs = (
        np.array([100 * values[name][seed][column] for seed in seeds]) for name in (method, PLAIN)
    )
    return ours, theirs


def table(content: dict[str, Any], values: Values) -> str:
    """Return the table of what is there; differences are to plain, over seeds that both have.

    What a file says is `for_choices` has validation images alone.
    """
    names = [name for name in content["methods"] if name in values]
    if content.get("for_choices"):
        return _table_for_choices(content, values, names)
    gaps = {name: np.subtract(*paired(values, name, "test")) for name in names if name != PLAIN}
    p_values = {name: paired_p_value(found) for name, found in gaps.items() if len(found) > 1}
    adjusted = dict(zip(p_values, holm([*p_values.values()]), strict=True))
    lines = [
        "| method | losses, weights | seeds | validation % | test % | difference, test "
        "| 95 % interval | p | Holm | difference, validation | training % | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        rows = list(values[name].values())
        cells = [name, _losses(content, name), str(len(rows))]
        cells += [_spread([100 * row[column] for row in rows]) for column in ("validation", "test")]
        cells += _difference(values, name)
        cells[-1:-1] = [
            f"{found[name]:.3f}" if name in found else "" for found in (p_values, adjusted)
        ]
        cells.append(f"{100 * statistics.mean(row['training'] for row in rows):.1f}")
        cells.append(f"{statistics.mean(row['seconds'] for row in rows):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table_for_choices(content: dict[str, Any], values: Values, names: list[str]) -> str:
    lines = [
        "| method | losses, weights | validation %, each seed | mean | difference | training % |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        found = [values[name][seed] for seed in sorted(values[name])]
        scores = [100 * row["validation"] for row in found]
        ours, theirs = paired(values, name, "validation")
        difference = "" if name == PLAIN else f"{(ours - theirs).mean():+.2f}"
        lines.append(
            f"| {name} | {_losses(content, name)} | "
            f"{', '.join(f'{score:.1f}' for score in scores)} | {statistics.mean(scores):.2f} | "
            f"{difference} | {100 * statistics.mean(row['training'] for row in found):.1f} |"
        )
    return "\n".join(lines) + "\n"


def _losses(content: dict[str, Any], method: str) -> str:
    """Return the losses with weights, and lambda where it is not the preset's."""
    from rolekd.distill import catalogue

    params, distilled = params_for(content, method)
    if not distilled:
        return "none"
    losses = catalogue.resolve(params.distill.loss).items()
    return ", ".join(f"{loss} {weight:g}" for loss, weight in losses) + (
        "" if params.distill.weight == 0.4 else f"; lambda {params.distill.weight:g}"
    )


def _spread(scores: list[float]) -> str:
    mean = f"{statistics.mean(scores):.2f}"
    return f"{mean} ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else mean


def _difference(values: Values, method: str) -> list[str]:
    """Return the difference to plain on test images, its interval, and that on validation."""
    if method == PLAIN or len(paired(values, method, "test")[0]) < 2:
        return ["", "", ""]
    found, chosen_by = (
        np.subtract(*map(np.array, paired(values, method, split)))
        for split in ("test", "validation")
    )
    interval = ""
    if found.std() > 0:
        low, high = t_interval(found, 0.95)
        interval = f"{low:+.2f} to {high:+.2f}"
    return [f"{found.mean():+.2f}", interval, f"{chosen_by.mean():+.2f}"]


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=1, show_default=True)
@click.option("--seeds", type=int, help="Fewer than the file says.")
@click.option("--only", help="Names of methods, with commas between.", default="")
def main(place: str, file: Path, workers: int, seeds: int | None, only: str) -> None:
    """Train what is not in the CSV file yet, then print the table."""
    content = yamlfiles.load(file)
    rows_file, folder = file.with_suffix(".csv"), file.parent / f".{file.stem}"
    folder.mkdir(exist_ok=True)
    values = read(rows_file)
    chosen = only.split(",") if only else list(content["methods"])
    wanted = [
        (method, seed)
        for seed in range(content["seeds"] if seeds is None else seeds)
        for method in content["methods"]
        if method in chosen and seed not in values.get(method, {})
    ]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        # the first alone: it makes the teacher
        for group in (wanted[:1], wanted[1:]):
            tasks = [pool.submit(train_one, place, content, *task, folder) for task in group]
            for task in as_completed(tasks):
                append(rows_file, task.result())
    put(file.stem, table(content, read(rows_file)))


def put(place: str, lines: str) -> None:
    """Print a table, and write it between the page's comments `place` and `/place`, if any."""
    sys.stdout.write(lines)
    begin, end = f"<!-- {place} -->\n", f"<!-- /{place} -->\n"
    page = PAGE.read_text()
    if begin in page:
        before, rest = page.split(begin)
        files.write_text(PAGE, f"{before}{begin}\n{lines}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
