import contextlib
import random
import threading
import time

import pytest

from rolekd.errors import InputError, RunError
from rolekd.fleet.studies import JobStudy
from rolekd.search.runner import run


def test_any_number_of_workers_gives_the_same_result(trainers, inputs, make_spec, digest, tmp_path):
    spec = make_spec(seconds=0.01)
    found = {n: digest(run(spec, inputs, tmp_path / str(n), workers=n)) for n in (1, 2, 3)}
    assert len(set(found.values())) == 1


FINAL = {"proposals": 2, "ladder": ["all-2", "all-6"], "confirm": {"rungs": [[6, 2], [2, 4]]}}


def test_a_final_gives_the_same_result_with_any_number_of_workers(
    trainers, inputs, make_spec, digest, tmp_path
):
    spec = make_spec(seconds=0.01, search=FINAL)
    found = {n: run(spec, inputs, tmp_path / str(n), workers=n) for n in (1, 2, 3)}
    assert len({digest(one) for one in found.values()}) == 1
    one = found[1]
    assert one.verdict is not None
    assert one.schedule == one.verdict.schedule
    assert {standing.name for standing in one.verdict.standings} == {
        "none", "pbt-1", "pbt-2", "all-2", "all-6",
    }  # fmt: skip
    # the states that nothing starts from any more are gone
    assert not [path for path in (tmp_path / "1" / "artifacts").rglob("*.g0*") if path.is_file()]


@pytest.mark.parametrize("algorithm", ["pbt", "tpe", "random", "cmaes", "ladder"])
def test_every_proposer_with_a_final_is_the_same_for_any_workers_and_kills(
    trainers, inputs, make_spec, digest, start, tmp_path, algorithm
):
    search = {**FINAL, "start": "ladder" if algorithm == "pbt" else "none"}
    spec = make_spec(epochs=6, algorithm=algorithm, search=search, seconds=0.02)
    wanted = digest(run(spec, inputs, tmp_path / "1"))
    for workers in (2, 3):
        assert digest(run(spec, inputs, tmp_path / str(workers), workers=workers)) == wanted
    chance = random.Random(algorithm)
    for _ in range(4):
        searching = start(spec, tmp_path / "killed", workers=2)
        searching.process.join(chance.uniform(0.1, 0.6))
        searching.kill()
        searching.process.join()
    assert start(spec, tmp_path / "killed", workers=2).result() == wanted


def test_a_final_can_be_all_of_a_search(trainers, inputs, make_spec, tmp_path):
    spec = make_spec(algorithm="ladder", search=FINAL)
    found = run(spec, inputs, tmp_path, workers=2)
    assert [len(generation) for generation in found.history] == [3 * 2, 2 * 2]
    assert found.line == []
    again = run(spec, inputs, tmp_path)
    assert again.schedule == found.schedule


def test_a_run_after_the_end_of_the_algorithm_continues_with_the_final(
    trainers, inputs, make_spec, digest, start, tmp_path
):
    spec = make_spec(seconds=0.05, search=FINAL)
    wanted = digest(run(spec, inputs, tmp_path / "whole", workers=2))
    search = start(spec, tmp_path / "killed", workers=2)
    study = None
    while study is None or len(study.read().history) < spec.search.generations:
        time.sleep(0.02)
        if (tmp_path / "killed" / "study.db").exists():
            with contextlib.suppress(InputError, RunError):
                study = JobStudy.open(f"sqlite:///{tmp_path}/killed/study.db", spec.name)
    search.kill()
    search.process.join()
    assert digest(run(spec, inputs, tmp_path / "killed", workers=2)) == wanted


def test_another_seed_gives_another_result(trainers, inputs, make_spec, digest, tmp_path):
    one = digest(run(make_spec(seed=0), inputs, tmp_path / "0"))
    other = digest(run(make_spec(seed=1), inputs, tmp_path / "1"))
    assert one != other


def test_the_search_learns(trainers, inputs, make_spec, tmp_path):
    found = run(make_spec(population=8, epochs=40), inputs, tmp_path)
    first = max(result.accuracy for result in found.history[0])
    assert found.line[-1].accuracy > 2 * first
    assert found.schedule.epochs == 40
    assert len(found.schedule.segments) > 3


def test_where_a_fork_is_unsafe_workers_start_afresh(
    trainers, inputs, make_spec, digest, tmp_path, monkeypatch
):
    spec = make_spec(seconds=0.1)
    wanted = digest(run(spec, inputs, tmp_path / "forked", workers=2))
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        found = run(spec, inputs, tmp_path / "spawned", workers=2)
    finally:
        release.set()
        thread.join()
    assert digest(found) == wanted
    snapshot = JobStudy.open(f"sqlite:///{tmp_path}/spawned/study.db", spec.name).read()
    assert len({trial.workers for trial in snapshot.trials if len(trial.workers) == 1}) == 2
