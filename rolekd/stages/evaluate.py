"""Stage evaluate: every network once on the test images, by which nothing is selected."""

import csv
import io
import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rolekd import files, processes
from rolekd.augment import named
from rolekd.augment import schedule as schedules
from rolekd.data import dataset as datasets
from rolekd.data.batches import Normalize
from rolekd.data.dataset import Dataset
from rolekd.display import say
from rolekd.outputs import EvaluateMetrics, Failures, Outputs
from rolekd.params import CONFIRMED, CompareParams, TeacherName, teacher_name
from rolekd.report.datafiles import save_predictions, write_tables
from rolekd.report.failures import RunFacts, failures
from rolekd.report.histories import read_rows
from rolekd.report.style import colours
from rolekd.report.tables import summarise
from rolekd.stages.stage import Stage
from rolekd.train import devices, roles
from rolekd.train.evaluate import accuracy, predict, predict_integers

_log = logging.getLogger(__name__)


def evaluate(stage: Stage) -> None:
    """Compare the arms on the test images."""
    params, outputs = stage.params, stage.outputs
    compare = params.compare.model_copy(update={"export": exported(params.compare, outputs)})
    drop_former(outputs, compare)
    torch.set_num_threads(params.threads)
    dataset = datasets.load(outputs.data)
    _, labels = dataset.split("test")
    taught = {name: _teacher_logits(stage, dataset, name) for name in compare.teachers}
    teachers = {name: accuracy(one, labels) for name, one in taught.items()}
    students = {
        arm: [outputs.student(arm, number) for number in range(compare.seeds)]
        for arm in compare.arms
    }
    weights = {arm: [files.sha256(path) for path in paths] for arm, paths in students.items()}
    logits = _student_logits(students, dataset, params.threads)
    evaluation = summarise(logits, labels, dataset.classes, compare)
    epochs = _epochs(outputs, compare)
    run = RunFacts(params, dataset, evaluation, logits, taught, epochs, outputs.searched())
    failed = Failures(lines=failures(run))
    for line in failed.lines:
        _log.warning("%s", line)
    failed.save(outputs.failures)
    stage.log_split(dataset, "test")
    write_tables(evaluation, stage.folder)
    save_predictions(outputs.predictions, logits, labels, weights)
    # one table, in whose column `arm` a teacher can be, too
    shades = colours(compare)
    table = [
        {"arm": name, "colour": shades[name], **row}
        for name, rows in epochs.items()
        for row in rows
    ]
    files.write_csv(outputs.epochs("evaluate"), table)
    # a run for each arm: MLflow's comparison shows them side by side, by name
    for arm, found in evaluation.metrics().items():
        tags = {"role": "student", "arm": arm, "split": "test"}
        with stage.run.child(f"test@{arm}", tags) as child:
            child.log_params({"arm": arm})
            error = found["calibration_error"]
            child.log_metrics({"test_accuracy": found["accuracy"], "calibration_error": error})
    for name in (
        "arms.json",
        outputs.failures.name,
        "per_class.csv",
        "confusion.csv",
        "calibration.csv",
    ):
        stage.run.log_artifact(stage.folder / name)
    stage.run.log_text("predictions.csv", _predictions(dataset, taught, logits))
    taught_by = compare.arms[compare.export].teacher
    metrics = EvaluateMetrics(
        test_accuracy={
            **{teacher_name(name, taught_by): found for name, found in teachers.items()},
            **{arm: found["accuracy"] for arm, found in evaluation.metrics().items()},
        }
    )
    stage.tell_group(metrics)
    stage.finish(metrics)


def _student_logits(
    students: Mapping[str, Sequence[Path]], dataset: Dataset, threads: int
) -> dict[str, NDArray[np.float32]]:
    """Return arm -> logits [seeds, N, K] of the students in these files, on the test images.

    Students run side by side, each with its own threads: more threads for one would change the
    order of the last sums.
    """
    images, _ = dataset.split("test")

    logits = {}
    with ThreadPoolExecutor(max(processes.cores() // threads, 1)) as pool:
        for arm, paths in students.items():
            # in this thread: torch.fx traces by patching functions that all threads call
            networks = [roles.load(path, dataset)[0] for path in paths]
            found = pool.map(lambda each: predict_integers(each, images, dataset), networks)
            logits[arm] = np.stack([*found])
    return logits


def _predictions(
    dataset: Dataset,
    taught: Mapping[TeacherName, NDArray[np.float32]],
    logits: Mapping[str, NDArray[np.float32]],
) -> str:
    """Return a table of each teacher's and each arm's first student's class for each image."""
    named = {teacher_name(name): one for name, one in taught.items()}
    named |= {arm: students[0] for arm, students in logits.items()}
    classes = np.asarray(dataset.classes)
    answers = {name: classes[one.argmax(-1)] for name, one in named.items()}
    columns = {"class": classes[dataset.split("test")[1]], **answers}
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["image", *columns])
    rows = zip(*columns.values(), strict=True)
    table.writerows([number, *row] for number, row in enumerate(rows))
    return written.getvalue()


def exported(compare: CompareParams, outputs: Outputs) -> str:
    """Return the arm whose first seed is exported.

    "confirmed" is the arm with the augmentation that won the final of the student's search: none or
    the teacher's schedule if an arm has that name, else the student's schedule. Arms of equal
    augmentation have the same students under two names.
    """
    if compare.export != CONFIRMED:
        return compare.export
    arms = compare.confirmable
    taken = schedules.simplest(schedules.load(outputs.schedule("student")))
    own = arms[named.STUDENT_SCHEDULE]
    if not schedules.acts(taken):
        return arms.get(named.NONE, own)
    if outputs.was_searched("teacher"):  # not if it was taken as it is
        teachers = schedules.simplest(schedules.load(outputs.schedule("teacher")))
        if taken == schedules.simplest(teachers.stretch(taken.epochs)):
            return arms.get(named.TEACHER_SCHEDULE, own)
    return own


def drop_former(outputs: Outputs, compare: CompareParams) -> None:
    """Remove the students of arms that params.yaml no longer has, which DVC leaves in place.

    This stage would depend on them here only: in a clone, which lacks them, it would be stale.
    DVC's cache keeps them.
    """
    for folder in outputs.stage("distill").iterdir():
        if folder.name not in compare.arms:
            say(f"{folder}: is no longer an arm; removed (in DVC's cache until dvc gc)")
            shutil.rmtree(folder)


def _teacher_logits(stage: Stage, dataset: Dataset, name: TeacherName) -> NDArray[np.float32]:
    images, _ = dataset.split("test")
    teacher, _ = roles.load(stage.outputs.teacher(name), dataset)
    device = devices.resolve(stage.params.machine.device)
    return predict(teacher.to(device), images, Normalize(dataset, device))


def _epochs(outputs: Outputs, compare: CompareParams) -> dict[str, list[dict[str, Any]]]:
    """Return the name of each teacher and arm -> rows of its trainings' epochs."""
    paths = {teacher_name(name): outputs.epochs("train_teacher", name) for name in compare.teachers}
    paths |= {arm: outputs.epochs("distill", arm) for arm in compare.arms}
    return {name: [dict(row) for row in read_rows(path)] for name, path in paths.items()}
