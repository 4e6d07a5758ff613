import multiprocessing
import sqlite3
from dataclasses import replace

import optuna
import pytest

from rolekd.errors import InputError, RunError
from rolekd.fleet.study import Ledger, names
from rolekd.search.population import Result


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def ledger(url, make_spec):
    return Ledger.create(url, make_spec(population=40), "study", 10)


def claim_all(url, number, answers, together):
    ledger = Ledger.open(url, "study")
    waiting = ledger.read().waiting()
    together.wait()
    # each begins elsewhere, or the first to hold the lock could have them all
    turned = waiting[10 * number :] + waiting[: 10 * number]
    answers.put([entry.number for entry in turned if ledger.claim(entry, f"worker {number}")])


def test_tables_of_another_optuna(url, make_spec):
    Ledger.create(url, make_spec(), "study", 10).close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(InputError, match=r"tables are of another Optuna .*optuna storage upgrade"):
        Ledger.open(url, "study")


def test_no_entry_is_claimed_twice(url, ledger):
    ledger.enqueue(ledger.job.make_planner()([]))
    ledger.close()
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
    assert sum(bool(numbers) for numbers in claimed) > 1


def test_a_result_whose_answer_was_lost_counts(ledger):
    ledger.enqueue(ledger.job.make_planner()([])[:2])
    first, second = ledger.read().waiting()
    for entry in (first, second):
        assert ledger.claim(entry, "me")
    result = Result(first.task, first.number, 0.5, 10, 1.0, "state")
    assert ledger.finish(first, result)
    assert ledger.finish(first, result)  # the answer did not arrive, so it is said again
    other = Result(first.task, first.number, 0.5, 10, 2.0, "state")
    assert not ledger.finish(first, other)  # another's
    assert ledger.lose(second)
    assert not ledger.finish(second, Result(second.task, second.number, 0.5, 10, 1.0, "state"))


def test_what_is_entered_is_read(ledger):
    tasks = ledger.job.make_planner()([])
    ledger.enqueue(tasks)
    entry = ledger.read().waiting()[0]
    assert ledger.claim(entry, "me")
    running = ledger.read().running()[0]
    assert (running.task, running.workers) == (tasks[0], ("me",))
    result = Result(tasks[0], entry.number, 0.25, 100, 1.5, "abc", {"norm": 2.0})
    with ledger.beating(entry):
        assert ledger.finish(entry, result)
    assert ledger.read().holders[tasks[0].slot].result == result
    assert not ledger.finish(entry, replace(result, seconds=9.0))  # another's
    assert not ledger.lose(entry)


def test_a_finished_entry_cannot_be_claimed(ledger):
    ledger.enqueue(ledger.job.make_planner()([])[:1])
    entry = ledger.read().waiting()[0]
    assert ledger.claim(entry, "one")
    assert not ledger.claim(entry, "other")
    assert ledger.read().running()[0].workers == ("one",)  # who came too late is none of them
    ledger.lose(entry)
    assert not ledger.claim(entry, "third")


def test_a_database_that_is_not_there(tmp_path, make_spec):
    with pytest.raises(InputError, match="no such file"):
        Ledger.open(f"sqlite:///{tmp_path}/none.db", "study")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"/proc/none/study.lock: cannot write here"):
        Ledger.create("sqlite:////proc/none/study.db", make_spec(), "study", 10)
    with pytest.raises(RunError, match=r"postgresql://\*\*\*@127.0.0.1:1/x: .*refused"):
        Ledger.create("postgresql://u:secret@127.0.0.1:1/x", make_spec(), "study", 10)
    with pytest.raises(RunError, match="check the address"):
        Ledger.create("nonsense", make_spec(), "study", 10)


def test_a_study_that_is_not_there_is_named_with_those_that_are(url, ledger):
    with pytest.raises(InputError, match="study other: not in this storage; it holds: study"):
        Ledger.open(url, "other")


def test_a_study_of_somebody_else(url, ledger):
    import optuna

    optuna.create_study(storage=url, study_name="theirs")
    with pytest.raises(InputError, match="holds no work of rolekd"):
        Ledger.open(url, "theirs")
    assert names(url) == ["study"]


def test_optuna_shows_what_the_objective_is(make_spec, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    Ledger.create(url, make_spec(), "named", 10)
    assert optuna.load_study(study_name="named", storage=url).metric_names == [
        "accuracy on search_val"
    ]
