"""Train recipes of teacher and student side by side on validation images, seed by seed.

    python -m results.recipes.run digits results/recipes/digits.yaml
    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar
    python -m results.recipes.run /tmp/cifar results/recipes/cifar10.yaml

A file of recipes names parameters that differ from the preset `digits`: those of all recipes in
`base`, those of each in `recipes`, which may also have `role: teacher`, `distilled: false`,
`starts_from: teacher` and the `augmentation` that acts before the base augmentation; for the
teachers that students learn from it is `teacher_augmentation`. Every (recipe, seed) is one row of
the CSV file beside it, written as soon as it is ready: run it again to resume. Trainings see a part
of the official training images and are measured on another part; test images decide nothing. Each
has one thread, and two run at a time.
"""

import csv
import fcntl
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click
import numpy as np

from rolekd import presets, yamlfiles
from rolekd.report.statistics import paired_p_value

SPECIAL = ("role", "distilled", "augmentation", "starts_from")
COLUMNS = ("recipe", "seed", "validation", "test", "training", "seconds")


def params_of(*changes: dict[str, Any], preset: str = "digits") -> Any:
    """Return the parameters of a preset with changes, given by dotted keys."""
    from rolekd.params import parse

    values = yamlfiles.parse(presets.find(preset).text, preset)
    for key, value in (item for change in changes for item in change.items()):
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    return parse(values, "the recipe")


def dataset_of(place: str, train: int, validation: int) -> Any:
    """Return a data set whose search splits are drawn anew from the training images, stratified.

    Its test split is the source's.
    """
    from rolekd.data import dataset as datasets
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    source = DataParams()
    if place != "digits":
        source = DataParams(source="cifar10", path=Path(place))
    whole = prepare(source, 0)
    images, labels = whole.split("train")
    generator = np.random.default_rng(0)
    picked: dict[str, list[int]] = {"search_train": [], "search_val": []}
    for label in range(len(whole.classes)):
        members = generator.permutation(np.flatnonzero(labels == label))
        share = len(members) / len(labels)
        first, more = round(train * share), round(validation * share)
        picked["search_train"] += members[:first].tolist()
        picked["search_val"] += members[first : first + more].tolist()
    splits = {name: np.sort(np.array(indices)) for name, indices in picked.items()}
    test_images, test_labels = whole.split("test")
    places = np.arange(len(labels), len(labels) + len(test_labels))
    splits |= {"train": splits["search_train"], "test": places}
    return datasets.assemble(
        whole.name,
        np.concatenate([images, test_images]),
        np.concatenate([labels, test_labels]),
        whole.classes,
        splits,
    )


def train_one(
    place: str, content: dict[str, Any], name: str, seed: int, folder: str
) -> dict[str, Any]:
    """Train one recipe with one seed, its teacher first where it has none yet; return the row."""
    from rolekd.augment.named import NamedAugmentation
    from rolekd.data.batches import Batches, Normalize
    from rolekd.distill.distillation import Distillation
    from rolekd.distill.objective import Objective
    from rolekd.train import devices, roles
    from rolekd.train.augmentation import applied, make_engine
    from rolekd.train.evaluate import accuracy, predict, predict_integers
    from rolekd.train.fit import fit
    from rolekd.train.state import save_weights
    from rolekd.train.training import Training

    device = devices.set_up("auto", 1)
    changes = content["recipes"][name] or {}
    special = {key: changes[key] for key in SPECIAL if key in changes}
    params = params_of(
        content.get("base", {}), {k: v for k, v in changes.items() if k not in special}
    )
    data = dataset_of(place, content["train"], content["validation"])
    normalize = Normalize(data, device)
    engine = make_engine(params.augment, data, 1)

    def trained(
        network: Any, objective: Any, training: Any, augmentation: str
    ) -> tuple[float, float]:
        network.to(device)
        began = time.process_time()
        batches = Batches(data, "search_train", training.batch_size, seed, normalize)
        with tempfile.TemporaryDirectory() as state:
            at = applied(engine, NamedAugmentation(augmentation).over(training.epochs))
            run = Training(network, objective, batches, at, training)
            history = fit(run, Path(state) / "state")
        return history[-1]["accuracy"], time.process_time() - began

    augmentation = special.get("augmentation", "none")

    def row(network: Any, share: float, seconds: float, integers: bool) -> dict[str, Any]:
        found = []
        for split in ("search_val", "test"):
            images, labels = data.split(split)
            logits = (
                predict_integers(network, images, data)
                if integers
                else predict(network, images, normalize)
            )
            found.append(accuracy(logits, labels))
        return dict(zip(COLUMNS, (name, seed, *found, share, round(seconds, 1)), strict=True))

    teacher_file = Path(folder) / f"teacher-{seed}.safetensors"
    is_teacher = special.get("role") == "teacher"
    if is_teacher or not teacher_file.exists():
        own = params if is_teacher else params_of(content.get("base", {}))
        network, about = roles.teacher(own.teacher, data, seed)
        before = content.get("teacher_augmentation", "none")
        if is_teacher:
            before = special.get("augmentation", before)
        share, seconds = trained(network, Objective(), own.teacher.training, before)
        if is_teacher:
            return row(network, share, seconds, integers=False)
        save_weights(teacher_file, network, about)
    teacher = roles.load(teacher_file, data)
    teacher[0].to(device)
    start = teacher[0] if special.get("starts_from") == "teacher" else None
    student = roles.student(params.student, data, seed, start)
    objective = Objective()
    if special.get("distilled", True):
        student[0].to(device)
        objective = Distillation(student, teacher, params.distill, seed)
    share, seconds = trained(student[0], objective, params.student.training, augmentation)
    return row(student[0], share, seconds, params.student.overrides != {"*": "float"})


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--workers", default=2, show_default=True)
@click.option("--only", help="Recipes whose name begins so.", default="")
def main(place: str, file: Path, workers: int, only: str) -> None:
    """Train what is not in the CSV file yet, then print the table."""
    content = yamlfiles.load(file)
    rows_file = file.with_suffix(".csv")
    rows = list(csv.DictReader(rows_file.open())) if rows_file.exists() else []
    done = {(row["recipe"], int(row["seed"])) for row in rows}
    folder = file.parent / f".{file.stem}"
    folder.mkdir(exist_ok=True)
    wanted = [
        (name, seed)
        for seed in range(content["seeds"])
        for name in content["recipes"]
        if (name, seed) not in done and name.startswith(only)
    ]
    os.nice(10)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(train_one, place, content, *task, str(folder)) for task in wanted]
        for task in as_completed(tasks):
            rows.append(task.result())
            append(rows_file, rows[-1])
    sys.stdout.write(table(content, rows))


def append(file: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, which the first one makes, with its keys as the header."""
    with file.open("a", newline="") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.seek(0, os.SEEK_END)
        writer = csv.DictWriter(out, [*row], lineterminator="\n")
        if out.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def table(content: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the table; differences to the recipe `reference` have standard error and exact p."""
    values: dict[str, dict[int, tuple[float, ...]]] = {}
    for row in rows:
        numbers = tuple(float(row[key] or "nan") for key in COLUMNS[2:])
        values.setdefault(row["recipe"], {})[int(row["seed"])] = numbers
    reference = values.get(content["reference"], {})
    lines = [
        "| recipe | seeds | validation % | paired difference | test % | training % | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in content["recipes"]:
        found = values.get(name, {})
        if not found:
            continue
        columns = list(zip(*found.values(), strict=True))
        gaps = [100 * (v[0] - reference[s][0]) for s, v in found.items() if s in reference]
        gap = "—"
        if name != content["reference"] and len(gaps) > 1:
            error = statistics.stdev(gaps) / len(gaps) ** 0.5
            p_value = paired_p_value(np.array(gaps))
            gap = f"{statistics.mean(gaps):+.2f} ± {error:.2f}, p {p_value:.3f}"
        validation, test = (_spread([100 * value for value in column]) for column in columns[:2])
        lines.append(
            f"| {name} | {len(found)} | {validation} | {gap} | {test} | "
            f"{100 * statistics.mean(columns[2]):.1f} | {statistics.mean(columns[3]):.1f} |"
        )
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    if any(map(math.isnan, values)):
        return "—"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


if __name__ == "__main__":
    main()
