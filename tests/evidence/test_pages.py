"""What a study found, as tables."""

import base64

import numpy as np
import pytest
from small_studies import STUDY

from rolekd import yamlfiles
from rolekd.evidence import pages
from rolekd.evidence.records import Records
from rolekd.evidence.trainings import Measured, TrainingSpec

CROSSED = {
    "design": {
        "teacher": {"none": {"teacher": "none"}, "good": {"teacher": "all-3"}},
        "rung": {str(s): {"augmentation": f"all-{s}"} for s in (0, 3, 5)},
    }
}
RIGHT = {"design/none/0": 1, "design/none/3": 3, "design/good/0": 2, "design/good/5": 2, "plain": 4}


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "study.yaml"
    arms = {key: STUDY["arms"][key] for key in ("plain", "kd")}
    study = {
        **STUDY,
        "arms": arms,
        "crossed": CROSSED,
        "primary": {"arm": "kd", "against": "plain"},
    }
    path.write_text(yamlfiles.dump(study))
    records = Records.open(path, tmp_path / "records")
    for cell in records.cells:
        if cell.arm in RIGHT:
            count = RIGHT[cell.arm]
            bits = base64.b64encode(np.packbits(np.arange(4) < count).tobytes()).decode()
            facts = {"arm": cell.arm}
            training = TrainingSpec(
                "data", "student", facts, {"name": "none", "schedule": None}, seed=cell.seed
            )
            measured = Measured(count / 4, right=bits, images=4)
            records.add([cell], training, measured, {"params": "p", "code": "c"})
    return records


def test_crossed_arms_are_a_table_whose_longest_factor_runs_across(records):
    text = pages.write(records)[-1].read_text()
    assert (
        """## digits: design

| teacher | rung: 0 | rung: 3 | rung: 5 |
| --- | --- | --- | --- |
| none | 25.00 | **75.00** |  |
| good | **50.00** |  | **50.00** |
"""
        in text
    )
    assert "| design/none/3 | 75.00 |" in text


def test_a_page_that_shows_them_so_has_no_row_for_each(records, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "".join(f"<!-- study small {part} -->\n<!-- /study -->\n" for part in ("arms", "crossed"))
    )
    assert pages.fill_page(records, page) == 2
    text = page.read_text()
    assert "| plain | 100.00 |" in text
    assert "design/" not in text
    assert "| good | **50.00** |  | **50.00** |" in text
