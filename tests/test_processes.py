import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rolekd.errors import RunError
from rolekd.processes import exclusive, is_held, within


def test_a_lock_is_exclusive_and_ends_with_its_block(tmp_path):
    lock = tmp_path / "lock"
    with (
        exclusive(lock, "stage x"),
        pytest.raises(RunError, match="stage x is already running"),
        exclusive(lock, "stage x"),
    ):
        pass
    assert not lock.exists()
    with exclusive(lock, "stage x"):
        assert is_held(lock)


def test_a_lock_that_is_removed_while_many_wait_keeps_them_apart(tmp_path):
    """Each adds one to a number in steps that another would disturb."""
    (tmp_path / "number").write_text("0")
    program = (
        "import sys, time; from pathlib import Path; from rolekd.processes import exclusive\n"
        "number = Path(sys.argv[2])\n"
        "for _ in range(50):\n"
        "    with exclusive(sys.argv[1], 'x', wait=60):\n"
        "        value = int(number.read_text()); time.sleep(0.001)\n"
        "        number.write_text(str(value + 1))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock"), str(tmp_path / "number")]
    writers = [subprocess.Popen(command) for _ in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    assert (tmp_path / "number").read_text() == "200"
    assert not (tmp_path / "lock").exists()


def test_a_killed_holder_leaves_no_lock(tmp_path):
    program = (
        "import sys, time; from rolekd.processes import exclusive\n"
        "with exclusive(sys.argv[1], 'x'): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError), exclusive(tmp_path / "lock", "x"):
            pass
        holder.kill()
        holder.wait()
    assert not is_held(tmp_path / "lock")
    with exclusive(tmp_path / "lock", "x"):
        pass


def test_a_forked_process_does_not_hold_its_parents_lock(tmp_path):
    program = (
        "import os, sys, time; from rolekd.processes import exclusive\n"
        "with exclusive(sys.argv[1], 'x'):\n"
        "    child = os.fork()\n"
        "    if not child: time.sleep(60); os._exit(0)\n"
        "    print(child, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        assert is_held(tmp_path / "lock")  # by the parent, though the child has let go
        holder.kill()
        holder.wait()
    try:
        deadline = time.monotonic() + 30  # the child lets go as soon as it is given a core
        while is_held(tmp_path / "lock"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lock_that_cannot_be_opened_is_not_taken_for_free(tmp_path, monkeypatch):
    assert not is_held(tmp_path / "lock")

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RunError, match="lock: cannot be read"):
        is_held(tmp_path / "lock")


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(RunError, match="lock: cannot be locked"),
        exclusive(tmp_path / "lock", "x", wait=60),
    ):
        pass


def test_a_lock_is_waited_for_as_long_as_said(tmp_path):
    with (
        exclusive(tmp_path / "lock", "x"),
        pytest.raises(RunError),
        exclusive(tmp_path / "lock", "x", wait=0.1),
    ):
        pass


def test_an_action_has_its_time():
    assert within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="no answer"):
        within(0.05, lambda: time.sleep(1))


@pytest.mark.parametrize("shell", [False, True], ids=["direct", "through a shell"])
def test_a_child_dies_with_a_killed_parent(shell):
    child = (
        "import os, time; from rolekd.processes import die_with_parent\n"
        "die_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", child]
    if shell:  # the second command keeps the shell from replacing itself
        command = ["sh", "-c", f"{sys.executable} -c '{child}'; true"]
    parent = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True
    ) as process:
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(500):
            if not _running(pid):
                return
            time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LEAVES = """
import atexit, sys, threading, time
from rolekd.processes import leave
class Late:
    def __del__(self):
        print("cleared")  # what takes Python its time
late = Late()
atexit.register(print, "handler")
thread = threading.Thread(target=lambda: (time.sleep(0.2), print("thread")))
thread.start()
print("last")
leave(3)
"""


def test_a_process_leaves_with_all_that_it_has_to_say():
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout.split() == ["last", "thread", "handler"]


def test_a_process_whose_output_nobody_reads_leaves_all_the_same():
    command = f"'{sys.executable}' -c 'from rolekd.processes import leave; print(1); leave(0)' >&-"
    assert subprocess.run(command, shell=True).returncode == 0
    full = f"'{sys.executable}' -c 'from rolekd.processes import leave; print(1); leave(0)'"
    done = subprocess.run(f"{full} > /dev/full", shell=True, capture_output=True, text=True)
    assert done.returncode != 0
    assert "No space left" in done.stderr
