"""The fleet's bench on SQLite: nothing is lost, and nothing has two results, whoever is killed."""

from rich.console import Console

from benchmarks.fleet import run, table


def test_every_slot_has_one_result_though_workers_are_killed():
    found = run(workers=3, tasks=24, seconds=0.2, kills=1)
    assert found["results"] == found["tasks"] == 24
    assert found["lost_tasks"] == found["tasks_with_two_results"] == 0
    assert found["killed"] == 1
    assert found["given_up_and_trained_again"] <= 1
    assert 0 < found["overhead_ms_median"] <= found["overhead_ms_95"]
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(found))
    assert "overhead ms median" in capture.get()
