import multiprocessing
import sqlite3
from dataclasses import replace

import optuna
import pytest

from rolekd.errors import InputError, RunError
from rolekd.fleet.studies import JobStudy, job_names
from rolekd.search.population import SearchResult


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url, make_spec):
    return JobStudy.create(url, make_spec(population=40), "study", 10)


def claim_all(url, number, answers, together):
    study = JobStudy.open(url, "study")
    waiting = study.read().waiting()
    together.wait()
    turned = waiting[10 * number :] + waiting[: 10 * number]
    claimed = [turned.pop(0).number] if study.claim(turned[0], f"worker {number}") else []
    together.wait()  # the first to run could have them all
    claimed += [trial.number for trial in turned if study.claim(trial, f"worker {number}")]
    answers.put(claimed)


def test_tables_of_another_optuna(url, make_spec):
    JobStudy.create(url, make_spec(), "study", 10).close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(InputError, match=r"tables are of another Optuna .*optuna storage upgrade"):
        JobStudy.open(url, "study")


def test_no_entry_is_claimed_twice(url, study):
    study.enqueue(study.job.make_planner()([]))
    study.close()
    context = multiprocessing.get_context("fork")
    answers, together = context.Queue(), context.Barrier(4)
    claimers = [
        context.Process(target=claim_all, args=(url, i, answers, together)) for i in range(4)
    ]
    for claimer in claimers:
        claimer.start()
    claimed = [answers.get(timeout=30) for _ in claimers]
    for claimer in claimers:
        claimer.join()
    assert sorted(number for numbers in claimed for number in numbers) == list(range(40))
    assert all(claimed)


def test_a_result_whose_answer_was_lost_counts(study):
    study.enqueue(study.job.make_planner()([])[:2])
    first, second = study.read().waiting()
    for trial in (first, second):
        assert study.claim(trial, "me")
    result = SearchResult(first.task, first.number, 0.5, 10, 1.0, "state")
    assert study.finish(first, result)
    assert study.finish(first, result)  # the answer did not arrive, so it is said again
    other = SearchResult(first.task, first.number, 0.5, 10, 2.0, "state")
    assert not study.finish(first, other)  # another's
    assert study.lose(second)
    assert not study.finish(second, SearchResult(second.task, second.number, 0.5, 10, 1.0, "state"))


def test_what_is_entered_is_read(study):
    tasks = study.job.make_planner()([])
    study.enqueue(tasks)
    trial = study.read().waiting()[0]
    assert study.claim(trial, "me")
    running = study.read().running()[0]
    assert (running.task, running.workers) == (tasks[0], ("me",))
    result = SearchResult(tasks[0], trial.number, 0.25, 100, 1.5, "abc", {"norm": 2.0})
    with study.beating(trial):
        assert study.finish(trial, result)
    assert study.read().holders[tasks[0].slot].result == result
    assert not study.finish(trial, replace(result, seconds=9.0))  # another's
    assert not study.lose(trial)


def test_a_finished_entry_cannot_be_claimed(study):
    study.enqueue(study.job.make_planner()([])[:1])
    trial = study.read().waiting()[0]
    assert study.claim(trial, "one")
    assert not study.claim(trial, "other")
    assert study.read().running()[0].workers == ("one",)  # who came too late is none of them
    study.lose(trial)
    assert not study.claim(trial, "third")


def test_a_database_that_is_not_there(tmp_path, make_spec):
    with pytest.raises(InputError, match="no such file"):
        JobStudy.open(f"sqlite:///{tmp_path}/none.db", "study")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"/proc/none/study.lock: cannot write here"):
        JobStudy.create("sqlite:////proc/none/study.db", make_spec(), "study", 10)
    with pytest.raises(RunError, match=r"postgresql://\*\*\*@127.0.0.1:1/x: .*refused"):
        JobStudy.create("postgresql://u:secret@127.0.0.1:1/x", make_spec(), "study", 10)
    with pytest.raises(RunError, match="check the address"):
        JobStudy.create("nonsense", make_spec(), "study", 10)


def test_a_study_that_is_not_there_is_named_with_those_that_are(url, study):
    with pytest.raises(InputError, match="study other: not in this storage; it holds: study"):
        JobStudy.open(url, "other")


def test_a_study_of_somebody_else(url, study):
    import optuna

    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(InputError, match="holds no work of rolekd"):
        JobStudy.open(url, "theirs")
    assert job_names(url) == ["study"]


def test_optuna_shows_what_the_objective_is(make_spec, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    JobStudy.create(url, make_spec(), "named", 10)
    assert optuna.load_study(study_name="named", storage=url).metric_names == [
        "accuracy on search_val"
    ]
