"""What goes wrong is said in one line, costs no more than it must, and can be continued."""

import dataclasses
import json

import pytest

from rolekd import display, workers
from rolekd.errors import HopelessError, InputError, RunError
from rolekd.fleet import artifacts, team
from rolekd.fleet.artifacts import open_artifacts
from rolekd.fleet.remote import attach
from rolekd.fleet.runner import Storage
from rolekd.fleet.snapshot import State
from rolekd.fleet.studies import JobStudy
from rolekd.fleet.worker import Worker
from rolekd.search import lineage
from rolekd.search.runner import run

STUDY = "teacher-test"
NAMED = Storage(study=STUDY)


@pytest.fixture
def url(tmp_path):
    (tmp_path / "state").mkdir()
    return f"sqlite:///{tmp_path}/state/study.db"


def test_a_diverged_member_loses_its_generation_only(trainers, inputs, make_spec, tmp_path):
    found = run(make_spec(diverge=[[1, 2]]), inputs, tmp_path)
    lost = found.history[1][2]
    assert lost.accuracy is None
    assert lost.state is None
    heir = found.history[2][2].task
    assert heir.parent.generation == 1
    assert heir.parent.member != 2
    assert len(found.history) == 5
    json.dumps(lost.task.policy, allow_nan=False)


def test_more_diverged_members_than_the_quantile_all_copy(trainers, inputs, make_spec, tmp_path):
    found = run(make_spec(diverge=[[1, 0], [1, 1], [1, 3]]), inputs, tmp_path)
    assert [result.task.parent.member for result in found.history[2]] == [2, 2, 2, 2]


def test_all_diverged_ends_the_search(trainers, inputs, make_spec, tmp_path):
    spec = make_spec(diverge=[[1, member] for member in range(4)])
    with pytest.raises(RunError, match="generation 1 the loss of every member became NaN"):
        run(spec, inputs, tmp_path)


def test_diverged_in_the_last_generation(trainers, inputs, make_spec, tmp_path):
    spec = make_spec(diverge=[[4, 0], [4, 1], [4, 2]])
    assert run(spec, inputs, tmp_path).line[-1].task.slot.member == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_of_the_trainer_is_shown_and_can_be_mended(
    trainers, inputs, make_spec, digest, tmp_path, monkeypatch, workers
):
    spec = make_spec()
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    monkeypatch.setenv("FAKE_FAIL_AT", "2,1")
    with pytest.raises((ValueError, RunError)):
        run(spec, inputs, tmp_path / "state", workers=workers)
    monkeypatch.delenv("FAKE_FAIL_AT")
    assert digest(run(spec, inputs, tmp_path / "state", workers=workers)) == wanted


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_on_a_full_disk(
    trainers, inputs, make_spec, digest, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(artifacts, "_moved", lambda *_: False)  # as if it were another disk
    spec = make_spec()
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    blocked = tmp_path / "state" / "artifacts" / f"{spec.name}.g0001-m0002-t6"
    blocked.parent.mkdir(parents=True)
    blocked.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"artifact store .*: writing failed \(No space left"):
        run(spec, inputs, tmp_path / "state", workers=workers)
    assert digest(run(spec, inputs, tmp_path / "state", workers=workers)) == wanted


def test_an_artifact_store_that_cannot_be_written(trainers, inputs, make_spec, digest, tmp_path):
    spec = make_spec()
    with pytest.raises(RunError, match=r"/sys: writing failed \((Permission|Operation|Read-only)"):
        run(spec, inputs, tmp_path, storage=Storage(artifacts="/sys"))
    with pytest.raises(InputError, match="/proc/artifacts: cannot be made"):
        run(spec, inputs, tmp_path, storage=Storage(artifacts="/proc/artifacts"))
    assert run(spec, inputs, tmp_path).line


def test_a_damaged_state_is_not_trained_from(trainers, inputs, make_spec, tmp_path, url):
    spec = make_spec()
    study = JobStudy.create(url, spec, STUDY, 10)
    study.enqueue(study.job.make_planner()([]))
    store = open_artifacts(str(tmp_path / "store"), STUDY)
    worker = _worker(study, store, spec, inputs, tmp_path)
    for _ in range(4):
        worker._advance_one(study.read())
    for file in (tmp_path / "store").glob("*.g0000-*"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="damaged"):
        worker.work()


def test_what_is_hopeless_for_one_worker_is_so_for_all(trainers, inputs, make_spec, tmp_path, url):
    spec = make_spec()
    study = JobStudy.create(url, spec, STUDY, 10)
    study.enqueue(study.job.make_planner()([]))
    study.fail("the rate is too high")
    store = open_artifacts(str(tmp_path / "store"), STUDY)
    with pytest.raises(HopelessError, match=r"^the rate is too high$"):
        _worker(study, store, spec, inputs, tmp_path).work()


def test_another_search_in_the_study_is_refused_with_the_difference(
    trainers, inputs, make_spec, tmp_path
):
    run(make_spec(population=4, seconds=0.0), inputs, tmp_path, storage=NAMED)
    with pytest.raises(InputError) as caught:
        run(
            make_spec(population=6, seconds=0.0, seed=3),
            inputs,
            tmp_path,
            storage=NAMED,
        )
    assert "search.population: 4 there, 6 here" in str(caught.value)
    assert "seed: 0 there, 3 here" in str(caught.value)
    assert "training" not in str(caught.value)


def test_another_library_version_is_refused_by_name(trainers, inputs, make_spec, tmp_path, url):
    spec = make_spec()
    other = dataclasses.replace(spec, versions={**spec.versions, "torch": "0.4.1"})
    JobStudy.create(url, other, STUDY, 10).close()
    with pytest.raises(InputError, match=r"torch: 0\.4\.1 there, .* here"):
        attach(url, STUDY)


def test_changed_inputs_are_refused(trainers, make_spec, inputs, tmp_path):
    copy = tmp_path / "inputs" / "data"
    copy.mkdir(parents=True)
    (copy / "target.bin").write_bytes(b"other")
    with pytest.raises(InputError, match=r"target\.bin: missing or changed"):
        run(make_spec(), copy.parent, tmp_path / "state")


def test_a_second_run_of_the_same_search_is_refused(
    start, inputs, make_spec, tmp_path, monkeypatch
):
    monkeypatch.setattr("rolekd.fleet.runner._LOCK_PATIENCE_SECONDS", 0.1)
    spec = make_spec(seconds=0.2)
    first = start(spec, tmp_path / "state")
    while not (tmp_path / "state" / "study.db").exists():
        pass
    with pytest.raises(RunError, match="already running"):
        run(spec, inputs, tmp_path / "state")
    first.kill()


def test_a_silent_worker_of_another_machine_is_given_up(
    trainers, inputs, make_spec, digest, tmp_path, url, monkeypatch
):
    monkeypatch.setattr("rolekd.fleet.studies._MISSED_BEATS", 2)
    spec = make_spec()
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    study = JobStudy.create(url, spec, STUDY, heartbeat_seconds=1)
    study.enqueue(study.job.make_planner()([]))
    trial = study.read().waiting()[1]
    assert study.claim(trial, "elsewhere:1:2:3")
    study.close()
    found = run(spec, inputs, tmp_path / "state", storage=NAMED)
    assert digest(found) == wanted
    assert found.history[0][1].trial > 3


def test_one_that_was_given_up_too_early_does_no_harm(
    trainers, inputs, make_spec, digest, tmp_path, url
):
    spec = make_spec()
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    study = JobStudy.create(url, spec, STUDY, 10)
    study.enqueue(study.job.make_planner()([]))
    store = open_artifacts(str(tmp_path / "state" / "artifacts"), STUDY)
    slow = _worker(study, store, spec, inputs, tmp_path)
    finish = study.finish

    def overtaken(trial, *given):
        study.finish = finish
        assert study.lose(trial)  # what another worker does that takes it for dead
        return finish(trial, *given)

    study.finish = overtaken
    slow._advance_one(study.read())
    assert not list((tmp_path / "state" / "artifacts").iterdir())
    found = run(spec, inputs, tmp_path / "state", storage=NAMED)
    assert digest(found) == wanted


def test_of_two_that_plan_at_once_one_does(trainers, inputs, make_spec, digest, tmp_path, url):
    spec = make_spec()
    wanted = digest(run(spec, inputs, tmp_path / "undisturbed"))
    one = JobStudy.create(url, spec, STUDY, 10)
    other = JobStudy.open(url, STUDY)
    planned = one.job.make_planner()([])
    assert one.enqueue(planned[:3])
    assert not other.enqueue(planned)  # it has not seen the three
    assert len(other.read().trials) == 3
    assert other.enqueue(other.read().missing(planned))
    assert not one.enqueue(planned)
    found = run(spec, inputs, tmp_path / "state", storage=NAMED)
    assert digest(found) == wanted
    assert [trial.state for trial in one.read().trials] == [State.DONE] * 20
    assert lineage.winner(found.history) == found.line[-1]


def _worker(study, store, spec, inputs, scratch):
    return Worker(study, store, spec.make_trainer(inputs, scratch), scratch)


def test_what_is_told_of_a_bug_in_a_worker_is_clean(monkeypatch, capfd, tmp_path):
    def fail(*_, **__):
        raise ValueError("a bug at postgresql://ann:hush@host/db\x1b[2J")

    monkeypatch.setattr(team.JobStudy, "open", fail)
    monkeypatch.setattr(workers, "_can_fork", lambda: True)
    with team.Team([{}], team.Place("", "", "", tmp_path, tmp_path, tmp_path)) as started:
        with pytest.raises(ValueError, match="a bug") as caught:
            while True:
                started.check()
        display.say_error("failed", caught.value)
    told = capfd.readouterr().err
    assert told.count("Traceback") == 2  # the worker's beside ours
    assert r"a bug at postgresql://***@host/db\x1b[2J" in told
    assert "hush" not in told
