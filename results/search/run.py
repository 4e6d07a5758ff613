"""Do searches harm, and do they find what is there? Search, then train anew, on test images.

    python -m results.search.run digits results/search/digits-300.yaml
    python ../shared/data/unpack_cifar.py cifar10 /tmp/cifar
    python -m results.search.run /tmp/cifar results/search/cifar10.yaml

For each search seed: the teacher's schedule is searched, teachers are trained with it and with none
on all training images, over fresh seeds; then the student's schedule is searched under the first
of the teachers with the winner, and students are trained likewise. Searches see training images
only. A file of searches has `searches` and `seeds` (numbers of each), and in `base` parameters that
differ from the preset digits, by dotted keys; `compare` names hand-made augmentations that are
trained beside. Every training is one row of the CSV file beside it, written as soon as it is there:
call it again to continue. One thread for each, two at a time.
"""

import csv
import functools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click

from results.recipes.run import append, params_of
from rolekd import files, yamlfiles
from rolekd.augment import named
from rolekd.augment import schedule as schedules

ROLES = ("teacher", "student")


def parameters(content: dict[str, Any], place: str) -> Any:
    """Return the parameters of a file of searches."""
    base = dict(content.get("base", {}))
    if place != "digits":
        base |= {"data.source": "cifar10", "data.path": place}
    return params_of(base)


def search(content: dict[str, Any], place: str, number: int, role: str, folder: Path) -> None:
    """Search one role's schedule in a process of its own, which it leaves clean."""
    from rolekd.data import dataset as datasets
    from rolekd.search import runner
    from rolekd.search.member import DATA, TEACHER, describe

    params = parameters(content, place)
    inputs = folder / f"inputs-{role}"
    if not inputs.exists():
        data = _data(content, place, number)
        datasets.save_splits(data, ("search_train", "search_val"), inputs / DATA)
        if role == "student":
            shutil.copy(folder / "teacher-winner-0.safetensors", inputs / TEACHER)
    given = {}
    if role == "student":
        given = {named.TEACHER_SCHEDULE: schedules.load(folder / "teacher.json").to_json()}
    spec = describe(params.model_copy(update={"seed": number}), role, inputs, given)
    began = time.time()
    found = runner.run(spec, inputs, folder / f"search-{role}", workers=2)
    verdict = found.verdict
    assert verdict is not None
    files.write_json(
        folder / f"{role}-verdict.json",
        {
            "winner": verdict.winner.name,
            "gain": verdict.winner.gain,
            "error": verdict.winner.error,
            "best": verdict.best.name,
            "best_gain": verdict.best.gain,
            "best_error": verdict.best.error,
            "trainings": sum(len(one.accuracies) for one in verdict.standings),
            "seconds": round(time.time() - began, 1),
        },
    )
    found.schedule.save(folder / f"{role}.json")


@functools.cache
def _prepared(seed: int, source: str) -> Any:
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare

    return prepare(DataParams.model_validate_json(source), seed)


def _data(content: dict[str, Any], place: str, number: int) -> Any:
    return _prepared(number, parameters(content, place).data.model_dump_json())


def train_one(
    content: dict[str, Any], place: str, number: int, role: str, what: str, seed: int, folder: Path
) -> dict[str, Any]:
    """Train one network on all training images of a search; return its row."""
    import torch

    from rolekd.augment.named import NamedAugmentation
    from rolekd.data.batches import Batches, Normalize
    from rolekd.distill.distillation import Distillation
    from rolekd.distill.objective import Objective
    from rolekd.train import devices, roles
    from rolekd.train.augmentation import applied, make_engine
    from rolekd.train.evaluate import accuracy, predict
    from rolekd.train.fit import fit
    from rolekd.train.state import save_weights
    from rolekd.train.training import Training

    torch.set_num_threads(1)
    devices.keep_memory()
    params, data = parameters(content, place), _data(content, place, number)
    normalize, own = Normalize(data), 1000 + seed
    objective: Any = Objective()
    if role == "teacher":
        network, about = roles.teacher(params.teacher, data, own)
        training = params.teacher.training
    else:
        teacher = roles.load(folder / "teacher-winner-0.safetensors", data)
        network, about = roles.student(params.student, data, own, teacher[0])
        objective = Distillation((network, about), teacher, params.distill, own)
        training = params.student.training
    augmentation = NamedAugmentation(what)
    if what == "winner":
        augmentation = NamedAugmentation(what, schedules.load(folder / f"{role}.json"))
    began = time.process_time()
    batches = Batches(data, "train", training.batch_size, own, normalize)
    at = applied(make_engine(params.augment, data, 1), augmentation.over(training.epochs))
    with tempfile.TemporaryDirectory() as state:
        fit(Training(network, objective, batches, at, training), Path(state) / "state")
    if role == "teacher":
        save_weights(folder / f"teacher-{what}-{seed}.safetensors", network, about)
    images, labels = data.split("test")
    found = accuracy(predict(network, images, normalize), labels)
    seconds = round(time.process_time() - began, 1)
    return {"search": number, "role": role, "what": what, "seed": seed} | {
        "test": round(found, 5),
        "seconds": seconds,
    }


@click.command()
@click.argument("place")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--only", type=int, multiple=True, help="Search seeds; default: all.")
def main(place: str, file: Path, only: tuple[int, ...]) -> None:
    """Search and train what is not in the CSV file yet, then print the table."""
    content = yamlfiles.load(file)
    rows_file = file.with_suffix(".csv")
    rows = list(csv.DictReader(rows_file.open())) if rows_file.exists() else []
    os.nice(10)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn) as pool:
        for number in only or range(content["searches"]):
            folder = (file.parent / f".{file.stem}" / str(number)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            for role in ROLES:
                if not (folder / f"{role}.json").exists():
                    one = spawn.Process(target=search, args=(content, place, number, role, folder))
                    one.start()
                    one.join()
                    if one.exitcode:
                        sys.exit(one.exitcode)
                wanted = _wanted(content, role, number, rows)
                tasks = [
                    pool.submit(train_one, content, place, number, role, *which, folder)
                    for which in wanted
                ]
                for task in as_completed(tasks):
                    rows.append(task.result())
                    append(rows_file, rows[-1])
            sys.stdout.write(table(file, content, rows))
            sys.stdout.flush()


def _wanted(
    content: dict[str, Any], role: str, number: int, rows: list[dict[str, Any]]
) -> list[tuple[str, int]]:
    done = {
        (row["what"], int(row["seed"]))
        for row in rows
        if (int(row["search"]), row["role"]) == (number, role)
    }
    whats = ["winner", "none", *content.get("compare", {}).get(role, [])]
    return [
        (what, seed)
        for seed in range(content["seeds"])
        for what in whats
        if (what, seed) not in done
    ]


def table(file: Path, content: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return a row for each search and role: what won, and what it is worth on test images."""
    beside = content.get("compare", {})
    whats = list(dict.fromkeys(what for role in ROLES for what in beside.get(role, [])))
    head = ["search", "role", "winner", "gain in the final", "test %: none", "winner", "difference"]
    head += [*whats, "search s"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for number in range(content["searches"]):
        for role in ROLES:
            found: dict[str, dict[int, float]] = {}
            for row in rows:
                if (int(row["search"]), row["role"]) == (number, role):
                    found.setdefault(row["what"], {})[int(row["seed"])] = 100 * float(row["test"])
            if not {"none", "winner"} <= set(found):
                continue
            verdict = files.read_json(
                file.parent / f".{file.stem}" / str(number) / f"{role}-verdict.json"
            )
            means = {what: statistics.fmean(values.values()) for what, values in found.items()}
            pairs = [found["winner"][seed] - found["none"][seed] for seed in found["winner"]]
            error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else 0.0
            cells = [
                str(number), role, verdict["winner"],
                f"{100 * verdict['gain']:+.2f} ± {100 * verdict['error']:.2f}",
                f"{means['none']:.2f}", f"{means['winner']:.2f}",
                f"{statistics.fmean(pairs):+.2f} ± {error:.2f}",
                *(f"{means[what]:.2f}" if what in means else "" for what in whats),
                f"{verdict['seconds']:.0f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
