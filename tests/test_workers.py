"""Workers beside this process: whoever fails or is killed, it ends in one error and no process."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rolekd.errors import InputError, RunError
from rolekd.workers import Pool


class OddError(InputError):
    """One that cannot be unpickled."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")


@pytest.fixture
def alone():
    """Call a function in a process of one thread, as a stage is; return what it returns."""
    context = multiprocessing.get_context("fork")
    started = []

    def call(function):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=lambda: theirs.send(function()))
        started.append(process)
        process.start()
        theirs.close()
        return ours.recv()

    yield call
    for process in started:
        process.kill()
        process.join()


def square(numbers, tell):
    for number in numbers:
        tell((os.getpid(), number, number**2))


def run(size, work, tasks):
    """Return what a pool told, or the error that it ended with; and whether a process is left."""
    heard = []
    outcome = None
    try:
        with Pool([{}] * size, work, "seed") as pool:
            pids = [worker.process.pid for worker in pool._workers]
            pool.run(tasks, heard.append)
    except Exception as error:
        outcome = type(error).__name__, str(error), getattr(error, "__notes__", [])
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    return heard, outcome, left


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_task_is_done_once(alone, size):
    heard, outcome, left = alone(lambda: run(size, square, range(20)))
    assert sorted((number, result) for _, number, result in heard) == [
        (number, number**2) for number in range(20)
    ]
    assert outcome is None
    assert left == []
    if size == 1:
        assert len({pid for pid, *_ in heard}) == 1


def test_tasks_are_passed_on_as_they_are(alone):
    tasks = [None, (), 0, "next", [], None]

    def work(found, tell):
        for task in found:
            tell(task)

    heard, outcome, _ = alone(lambda: run(2, work, tasks))
    assert outcome is None
    assert sorted(map(repr, heard)) == sorted(map(repr, tasks))


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("error", [RunError("lower it"), OddError("a.yaml", "bad"), KeyError("x")])
def test_an_error_of_a_worker_is_one_of_this_process(alone, size, error):
    def work(numbers, tell):
        for number in numbers:
            tell(number)
            if number == 1:
                raise error

    _, (name, text, notes), left = alone(lambda: run(size, work, range(1000)))
    known = {"OddError": "InputError"} if size > 1 else {}
    assert name == known.get(type(error).__name__, type(error).__name__)
    assert text == str(error)
    assert left == []
    if size > 1:
        assert "in work" in notes[0]  # the worker's traceback, for --debug


def test_a_killed_worker_is_named_with_its_task_and_the_others_end(alone):
    def work(numbers, tell):
        for number in numbers:
            tell(number)
            if number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.02)

    _, (name, text, _), left = alone(lambda: run(2, work, [0, 1, *range(10, 1000)]))
    assert name == "RunError"
    assert text.startswith("the process of seed 1 was killed by signal 9; look for the reason")
    assert left == []


def test_one_that_ends_by_itself_too(alone):
    _, (name, text, _), left = alone(lambda: run(2, lambda *_: os._exit(3), range(4)))
    assert name == "RunError"
    assert "ended with exit code 3" in text
    assert left == []


def test_with_another_thread_they_start_as_fresh_interpreters(alone):
    def call():
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        return run(2, functools.partial(square), range(4))

    heard, outcome, _ = alone(call)
    assert outcome is None
    assert sorted(number for _, number, _ in heard) == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_none_survives_a_parent_that_is_killed_or_interrupted(capfd, number):
    def work(numbers, tell):
        tell(os.getpid())
        for _ in numbers:
            time.sleep(60)

    def main():
        os.setpgid(0, 0)  # Ctrl-C goes to the whole group
        # a shell that has no jobs starts what it puts into the background without it
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run_forever()
        except KeyboardInterrupt:
            os._exit(130)

    def run_forever():
        with Pool([{}] * 2, work, "seed") as pool:
            pool.run(range(2), theirs.send)

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=main)
    process.start()
    pids = [ours.recv(), ours.recv()]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.kill()
    process.join(30)
    assert process.exitcode == (130 if number == signal.SIGINT else -9)
    deadline = time.monotonic() + 30
    while any(_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err


def _running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def seats(numbers, tell):
    for _ in numbers:
        time.sleep(0.05)
        tell(os.environ["SEAT"])


def test_each_process_has_an_environment_of_its_own(alone):
    def sit():
        heard = []
        with Pool([{"SEAT": "0"}, {"SEAT": "1"}], seats, "seed") as pool:
            pool.run(range(6), heard.append)
        return set(heard), "SEAT" in os.environ

    assert alone(sit) == ({"0", "1"}, False)


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from rolekd.workers import WorkerProcess\n"
        "print('script', flush=True)\n"
        "worker = WorkerProcess.start(print, 'worker', fresh=True)\n"
        "worker.process.join()\n"
        "print(worker.process.exitcode, __name__)\n"
    )
    path = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["script", "worker", "__main__"]
    assert lines[-1] == "0 __main__"
