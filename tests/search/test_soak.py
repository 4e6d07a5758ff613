import time
from pathlib import Path

import pytest

from rolekd.fleet.identity import identity, is_dead
from rolekd.fleet.studies import JobStudy
from rolekd.processes import exclusive


def resident_kib(pids):
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total


@pytest.mark.slow
def test_five_hundred_slots_with_four_workers(start, make_spec, tmp_path):
    spec = make_spec(population=20, epochs=50, seconds=0.05, size=20_000)
    assert spec.search.tasks == 500
    state = tmp_path / "state"
    searching = start(spec, state, workers=4)
    url = f"sqlite:///{state}/study.db"
    while len(searching.helpers()) < 3:
        time.sleep(0.1)
    helpers = [identity(pid) for pid in searching.helpers()]
    study = JobStudy.open(url, spec.name)
    memory = {}
    while searching.process.is_alive() and (done := study.read().tasks_done) < 480:
        memory[done] = resident_kib([searching.process.pid, *searching.helpers()])
        time.sleep(0.2)
    searching.result()
    assert searching.process.exitcode == 0
    later = [kib for done, kib in memory.items() if done >= 100]
    assert len(later) > 10
    assert max(later) <= 1.1 * later[0]
    assert all(is_dead(helper) for helper in helpers)
    for lock in ("search.lock", "study.lock"):
        with exclusive(state / lock, "the test"):
            pass
    assert JobStudy.open(url, spec.name).read().finished
    assert len(list((state / "artifacts").iterdir())) == 20 + len(spec.inputs)
