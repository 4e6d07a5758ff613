"""Whatever is killed, and whenever: the same result."""

import random
import time

import pytest

from rolekd.fleet.identity import identity, is_dead
from rolekd.search.runner import run


@pytest.fixture
def spec(make_spec):
    return make_spec(population=4, epochs=10, seconds=0.02)


@pytest.fixture
def undisturbed(trainers, inputs, spec, digest, tmp_path):
    return digest(run(spec, inputs, tmp_path / "undisturbed"))


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_worker_is_killed_and_replaced(start, spec, undisturbed, tmp_path):
    searching = start(spec, tmp_path / "state", workers=2)
    wait_until(searching.helpers)
    time.sleep(0.3)
    searching.kill(searching.helpers()[0])
    assert searching.result() == undisturbed


def test_all_are_killed_and_none_survives(start, spec, undisturbed, tmp_path):
    state = tmp_path / "state"
    searching = start(spec, state, workers=2)
    wait_until(searching.helpers)
    time.sleep(0.3)
    helpers = [identity(pid) for pid in searching.helpers()]
    searching.kill()  # its workers must die with it
    wait_until(lambda: all(is_dead(helper) for helper in helpers))
    assert start(spec, state, workers=2).result() == undisturbed


def test_killed_at_twenty_random_instants(start, spec, undisturbed, tmp_path):
    state, chance, kills = tmp_path / "state", random.Random(20), 0
    searching = start(spec, state, workers=2)
    while kills < 20:
        time.sleep(chance.uniform(0.0, 0.5))
        if not searching.process.is_alive():
            assert searching.result() == undisturbed
            state = tmp_path / f"state-{kills}"  # it got through: on with the next search
        elif (helpers := searching.helpers()) and chance.random() < 0.3:
            searching.kill(chance.choice(helpers))
            kills += 1
            continue
        else:
            searching.kill()
            searching.process.join()
            kills += 1
        searching = start(spec, state, workers=2)
    assert searching.result() == undisturbed


def test_nothing_outgrown_is_left(start, spec, undisturbed, tmp_path):
    state = tmp_path / "state"
    for _ in range(3):
        searching = start(spec, state, workers=2)
        time.sleep(0.4)
        searching.kill()
        searching.process.join()
    assert start(spec, state, workers=2).result() == undisturbed
    kept = [file.name for file in (state / "artifacts").iterdir()]
    assert len([name for name in kept if ".input-" in name]) == len(spec.inputs)
    states = [name for name in kept if ".input-" not in name]
    assert len(states) == spec.search.population
    assert all(".g0004-" in name for name in states)
    assert not (state / "scratch").exists()
