"""Records: a training is one row and one set of images, whoever trains it again."""

import base64
from pathlib import Path

import numpy as np
import pytest
from small_studies import STUDY

from rolekd import files, yamlfiles
from rolekd.evidence import design
from rolekd.evidence.cells import Plan
from rolekd.evidence.keys import as_recorded
from rolekd.evidence.records import SETTINGS_FILE, Records
from rolekd.evidence.records import STUDY_FILE as STUDY_FILE
from rolekd.evidence.running import _SECTIONS as SECTIONS
from rolekd.evidence.trainings import Measured, TrainingSpec

OURS = Path(__file__).parents[2] / "results" / "records"


def _measured(right, machine):
    bits = base64.b64encode(np.packbits(np.array(right, bool)).tobytes()).decode()
    return Measured(sum(right) / len(right), right=bits, images=len(right), machine=machine)


def test_a_training_on_record_stays_what_it_is(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yamlfiles.dump(STUDY))
    records = Records.open(path, tmp_path / "records")
    first, second, third = records.cells[:3]
    training = TrainingSpec("data", "student", {}, {"name": "none", "schedule": None})
    own = {"params": "p", "code": "c"}
    assert not records.share([first], training.key)
    records.add([first], training, _measured([1, 1, 0, 0], "here"), own)
    # another machine's sums are others
    records.add([second], training, _measured([1, 1, 1, 0], "there"), {**own, "code": "d"})
    assert records.share([third], training.key)
    for found in (records, Records(records.folder, records.study)):
        for cell in (first, second, third):
            row = found.rows[cell]
            assert (row.measured.accuracy, row.measured.machine) == (0.5, "here")
            assert row.provenance["code"] == "c"
            assert found.right(row.training).tolist() == [True, True, False, False]


@pytest.mark.parametrize("folder", [path.parent for path in OURS.glob(f"*/{STUDY_FILE}")])
def test_rows_agree_with_the_images_that_are_right(folder):
    records = Records(folder, design.load(folder / STUDY_FILE))
    rows = [row for row in records.rows.values() if not row.measured.fault]
    assert rows
    one = {row.training: row.measured for row in rows}
    for row in rows:
        assert row.measured == one[row.training]
        assert records.right(row.training).mean() == pytest.approx(row.measured.accuracy, abs=5e-6)


@pytest.mark.parametrize("folder", [path.parent for path in OURS.glob(f"*/{STUDY_FILE}")])
def test_the_study_comes_to_the_trainings_and_searches_on_record(folder):
    """Whatever keys of params.yaml are called by now: else all of it would be done again."""
    records = Records(folder, design.load(folder / STUDY_FILE))
    settled = files.read_json(folder / SETTINGS_FILE)

    def found(search):
        return records.schedule(records.searches[search.key].key)

    for data in records.study.data:
        params = records.study.params_of(data).model_dump(mode="json", include={*SECTIONS})
        records.settle(data, as_recorded(params), settled[data]["data"])
        plan = Plan(records.study, data, settled[data]["data"], {}, found)
        for cell, row in records.rows.items():
            if cell.data == data and not row.measured.fault:
                assert plan.training(cell).key == row.training
