import os
import pathlib
import subprocess
import sys

import pytest

from rolekd.fleet.identity import identity, is_dead, readable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")


def test_one_that_lives_and_dies():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = identity(process.pid)
    assert not is_dead(name)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie is dead, too
    assert is_dead(name)
    process.wait()
    process.stdin.close()
    assert is_dead(name)


def test_a_number_that_was_given_to_another_process():
    place, pid, started = identity().rsplit(":", 2)
    assert is_dead(f"{place}:{pid}:{int(started) - 1}")


def test_nothing_is_known_of_other_machines():
    assert not is_dead("elsewhere:4026531836:1:1")
    assert readable("else:where:4026531836:17:1") == "else:where:17"


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), PermissionError(13, "no")])
def test_what_cannot_be_looked_at_is_not_dead(monkeypatch, error):
    place, pid, started = identity().rsplit(":", 2)

    def refuse(*_arguments, **_options):
        raise error

    monkeypatch.setattr(pathlib.Path, "read_text", refuse)
    assert not is_dead(f"{place}:{pid}:{int(started) - 1}")


def test_what_a_mount_hides_is_not_dead(monkeypatch):
    """With hidepid, /proc does not have the processes of other users."""
    place, pid, started = identity().rsplit(":", 2)

    def hide(*_arguments, **_options):
        raise FileNotFoundError

    monkeypatch.setattr(pathlib.Path, "read_text", hide)
    assert not is_dead(f"{place}:{pid}:{started}")
    assert is_dead(f"{place}:{2**22 + 1}:1")  # above the largest number of a process
