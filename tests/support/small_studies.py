"""A study that takes seconds, and its rows without what differs between two runs."""

import csv

from small_runs import SMALL

from rolekd.evidence.records import CELLS, RIGHT, TRAININGS

STUDY = {
    "name": "small",
    "question": "Does it run?",
    "seeds": 2,
    "searches": 2,
    "corruptions": False,
    "data": {"digits": {"params": SMALL}},
    "arms": {
        "teacher": {"role": "teacher", "augmentation": "teacher-schedule"},
        "plain": {"distilled": False, "starts_from": "scratch"},
        "kd": {"teacher": "none"},
        "own": {"augmentation": "student-schedule"},
        "broken": {"teacher": "none", "params": {"student.model.width": 3}},
    },
    "primary": {"arm": "own", "against": "plain"},
}


def rows_of(folder):
    """Return the rows of a study's cells with their trainings', and which images are right."""
    with (folder / TRAININGS).open() as file:
        trainings = {
            row["training"]: {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        }
    with (folder / CELLS).open() as file:
        rows = [{**row, **trainings.get(row["training"], {})} for row in csv.DictReader(file)]
    return rows, (folder / RIGHT).read_text()
