"""A whole study, small: its rows are the same however it comes to its end."""

import contextlib

import pytest
from small_studies import STUDY, rows_of

from rolekd import yamlfiles
from rolekd.errors import HopelessError, InputError
from rolekd.evidence import pages, running, status
from rolekd.evidence.records import CELLS, Records
from rolekd.evidence.trainings import Measured, TrainingSpec
from rolekd.params import MachineParams
from rolekd.train import roles
from rolekd.train.training import DivergedError


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def search(self, _title):
        class Nobody:
            def __getattr__(self, _name):
                return lambda *_: None

        yield Nobody()

    @contextlib.contextmanager
    def trainings(self, _title):
        yield lambda _: None


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("")
    (tmp_path / "study.yaml").write_text(yamlfiles.dump(STUDY))
    return tmp_path


def test_a_study_does_every_cell_once_and_continues_from_its_records(project, monkeypatch):
    build = roles.student

    def student(params, *more):
        if params.model.width == 3:
            raise DivergedError("the loss is nan")
        return build(params, *more)

    monkeypatch.setattr(roles, "student", student)
    file, parent = project / "study.yaml", project / "records"
    machine = MachineParams(device="cpu", workers=1)
    records = Records.open(file, parent)
    running.run(records, machine, Silent(), arms=["plain"])
    assert {cell.arm for cell in records.rows} == {"plain"}
    assert not records.searches
    running.run(records, machine, Silent())
    rows, right = rows_of(records.folder)
    assert len(rows) == len(records.cells) == 2 * (2 + 1 + 1 + 2 + 1)
    assert not records.missing()
    # a cell that fails is recorded with its reason, and the rest continues
    faults = {row["arm"]: row["fault"] for row in rows if row["fault"]}
    assert list(faults) == ["broken"]
    assert faults["broken"] == "the loss is nan"
    # cells that come to the same are one training
    assert len({row["training"] for row in rows}) < len(rows)
    found = status.of(records)
    assert found["finished"]
    assert found["data"][0]["failed"] == 2

    # without some rows and one search, elsewhere: with two workers, from the records alone
    again = project / "again" / records.folder.name
    again.parent.mkdir()
    records.folder.rename(again)
    lines = (again / CELLS).read_text().splitlines(keepends=True)
    (again / CELLS).write_text("".join(line for line in lines if ",own," not in line))
    searches = (again / "searches.csv").read_text().splitlines(keepends=True)
    (again / "searches.csv").write_text("".join(searches[:-1]))
    records = Records.open(file, again.parent)
    assert records.folder == again
    assert {cell.arm for cell in records.missing()} == {"own"}
    running.run(records, MachineParams(device="cpu", workers=2), Silent())
    assert rows_of(again) == (rows, right)

    paths = pages.write(records)
    text = paths[-1].read_text()
    assert "failed: digits, broken, seed 0: " in text
    assert "2 of them failed" in text
    assert records.forget_faults() == 2


def test_a_search_that_cannot_succeed_is_on_record_and_the_rest_continues(project, monkeypatch):
    asked = []

    def diverged(spec, _inputs, state, *_, **__):
        asked.append(spec.name)
        state.mkdir(parents=True)
        raise HopelessError("search: the loss of every member became NaN; lower the learning rate")

    monkeypatch.setattr(running.searching, "run", diverged)
    file, parent = project / "study.yaml", project / "records"
    for _ in range(2):  # the second time nothing is left to do
        records = Records.open(file, parent)
        running.run(records, MachineParams(device="cpu", workers=1), Silent())
    assert len(asked) == len(set(asked)) == len(records.searches)
    assert not records.missing()
    assert not list(project.rglob("state/**/search"))  # nothing is left of them
    faults = {
        row.cell.arm: row.measured.fault for row in records.rows.values() if row.measured.fault
    }
    assert faults
    assert all("every member became NaN" in fault for fault in faults.values())
    assert "plain" not in faults


def test_a_study_that_changed_is_refused_with_the_difference(project):
    file = project / "study.yaml"
    records = Records.open(file, project / "records")
    assert records.folder.parent == project / "records"
    file.write_text(yamlfiles.dump({**STUDY, "seeds": 3}))
    with pytest.raises(InputError, match="seeds: 2 when it began, 3 now"):
        Records.open(file, project / "records")
    # the one that began is kept, and continues
    assert Records.open(records.folder / "study.yaml", project / "records").study.seeds == 2


def test_a_preset_or_data_that_changed_are_refused_with_the_difference(project):
    records = Records.open(project / "study.yaml", project / "records")
    records.settle("digits", {"search": {"population": 4}}, "abc")
    records.settle("digits", {"search": {"population": 4, "new": 1}}, "abc")  # of a newer version
    with pytest.raises(InputError, match=r"params\.search\.population: 4 when it began, 8 now"):
        records.settle("digits", {"search": {"population": 8}}, "abc")
    with pytest.raises(InputError, match="data: abc when it began, abd now"):
        records.settle("digits", {"search": {"population": 4}}, "abd")


def test_a_cell_whose_images_are_not_on_record_is_not_done(project):
    """A kill between the two files leaves no cell that no table can read."""
    records = Records.open(project / "study.yaml", project / "records")
    training = TrainingSpec("d", "student", {}, {"name": "none", "schedule": None})
    measured = Measured(0.5, right="gA==", images=2)
    records.add(records.cells[:1], training, measured, {"params": "p", "code": "c"})
    assert len(Records(records.folder, records.study).rows) == 1
    (records.folder / "right.csv").unlink()
    assert len(Records(records.folder, records.study).rows) == 0


def test_records_that_are_none_are_told_with_their_line(project):
    records = Records.open(project / "study.yaml", project / "records")
    (records.folder / CELLS).write_text("data set,arm\ndigits,plain\n")
    with pytest.raises(InputError, match=r"cells.csv: line 2 is not a cell"):
        Records.open(project / "study.yaml", project / "records")


def test_what_does_not_fit_the_images_is_told_before_anything_runs(project):
    arms = {**STUDY["arms"], "large": {"params": {"student.training.batch_size": 5000}}}
    (project / "study.yaml").write_text(yamlfiles.dump({**STUDY, "arms": arms}))
    records = Records.open(project / "study.yaml", project / "records")
    with pytest.raises(InputError, match=r"arms.large: student.training.batch_size: 5000 is more"):
        running.run(records, MachineParams(device="cpu", workers=1), Silent())
    assert not records.rows
    assert not records.searches
