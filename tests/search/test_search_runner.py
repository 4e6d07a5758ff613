import threading

from rolekd.search.runner import run
from rolekd.search.study import Ledger


def test_any_number_of_workers_gives_the_same_result(trainers, inputs, make_spec, digest, tmp_path):
    spec = make_spec(seconds=0.01)
    found = {n: digest(run(spec, inputs, tmp_path / str(n), workers=n)) for n in (1, 2, 3)}
    assert len(set(found.values())) == 1


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
    board = Ledger.open(f"sqlite:///{tmp_path}/spawned/study.db", spec.name).read()
    assert len({entry.workers for entry in board.entries if len(entry.workers) == 1}) == 2
