"""The same search on PostgreSQL: the same result, and a server that goes away is waited for."""

import contextlib
import time
from pathlib import Path

import psycopg
import pytest
from postgres import ESCAPED, PASSWORD, Server

from rolekd.errors import RolekdError
from rolekd.fleet.runner import Storage
from rolekd.fleet.studies import JobStudy
from rolekd.search import phases
from rolekd.search.runner import run


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.remove()


@pytest.fixture
def url(server, request):
    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return server.url(name)


@pytest.fixture
def spec(make_spec):
    return make_spec(seconds=0.02)


@pytest.fixture
def on_sqlite(trainers, inputs, spec, digest, tmp_path):
    return digest(run(spec, inputs, tmp_path / "sqlite"))


def test_the_result_is_that_of_sqlite(inputs, spec, url, on_sqlite, digest, tmp_path):
    found = run(spec, inputs, tmp_path / "state", workers=2, storage=Storage(url))
    assert digest(found) == on_sqlite


@pytest.mark.parametrize("algorithm", ["pbt", "tpe", "random", "cmaes", "ladder"])
def test_every_proposer_with_a_final(inputs, trainers, make_spec, digest, url, tmp_path, algorithm):
    final = {
        "ladder": ["all-2", "all-6"],
        "start": "ladder" if algorithm == "pbt" else "none",
        "confirm": {"rungs": [[6, 2], [2, 4]]},
    }
    spec = make_spec(population=4, epochs=4, algorithm=algorithm, search=final)
    found = run(spec, inputs, tmp_path / "state", workers=3, storage=Storage(url))
    assert digest(found) == digest(run(spec, inputs, tmp_path / "sqlite"))
    assert found.verdict is not None


def test_kill_and_resume_of_a_final(start, trainers, make_spec, inputs, digest, url, tmp_path):
    final = {"ladder": ["all-2", "all-6"], "confirm": {"rungs": [[5, 2], [3, 6]], "decided": None}}
    spec = make_spec(population=2, epochs=2, search=final, seconds=0.05)
    wanted = digest(run(spec, inputs, tmp_path / "sqlite"))
    searching = start(spec, tmp_path / "state", workers=2, url=url)
    study = None
    while study is None or not phases.rungs(study.read().history):
        assert searching.process.is_alive()
        with contextlib.suppress(RolekdError):  # the study is not there yet
            study = study or JobStudy.open(url, spec.name)
        time.sleep(0.01)
    searching.kill()
    searching.process.join()
    assert start(spec, tmp_path / "state", workers=3, url=url).result() == wanted


def test_kill_and_resume(start, spec, url, on_sqlite, tmp_path):
    searching = start(spec, tmp_path / "state", workers=2, url=url)
    time.sleep(0.7)
    searching.kill()
    searching.process.join()
    assert start(spec, tmp_path / "state", workers=2, url=url).result() == on_sqlite


def outage(server, start, spec, url, tmp_path, seconds) -> str:
    searching = start(spec, tmp_path / "state", workers=2, url=url)
    study = None
    while study is None or study.read().tasks_done < 3:
        assert searching.process.is_alive()
        with contextlib.suppress(RolekdError):  # the study is not there yet
            study = study or JobStudy.open(url, spec.name)
        time.sleep(0.05)
    study.close()
    server.stop()
    time.sleep(seconds)
    assert searching.process.is_alive()
    server.start()
    return searching.result()


def test_a_server_away_for_seconds(server, start, spec, url, on_sqlite, tmp_path):
    assert outage(server, start, spec, url, tmp_path, 2) == on_sqlite


@pytest.mark.slow
def test_a_server_away_for_half_a_minute(server, start, spec, url, on_sqlite, tmp_path):
    assert outage(server, start, spec, url, tmp_path, 30) == on_sqlite


def test_the_password_is_nowhere(server, inputs, spec, url, on_sqlite, tmp_path, caplog, capfd):
    run(spec, inputs, tmp_path / "state", storage=Storage(url))
    wrong = url.replace(f":{ESCAPED}@", ":wr0ngsecret@")
    messages = []
    for address in (wrong, url.replace(str(server.port), "1"), url + "nonsense"):
        with pytest.raises(RolekdError) as caught:
            run(spec, inputs, tmp_path / "state", storage=Storage(address))
        messages.append(str(caught.value))
    with psycopg.connect(url) as connection:
        rows = [
            str(row)
            for table in ("study_user_attributes", "trial_user_attributes", "studies")
            for row in connection.execute(f"select * from {table}")
        ]
    stored = [
        file.read_bytes().decode("latin1")
        for file in Path(tmp_path / "state").rglob("*")
        if file.is_file()
    ]
    shown = "\n".join([*messages, *rows, *stored, caplog.text, *capfd.readouterr()])
    for secret in (PASSWORD, ESCAPED, "wr0ngsecret"):
        assert secret not in shown
    assert "//***@127.0.0.1" in messages[0]
