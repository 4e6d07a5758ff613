"""The guard of the pipeline tests sees what it is there for: else its silence would say nothing."""

import os
import subprocess
import sys

import pytest
from projects import Project, can_trace


@pytest.fixture
def guarded(tmp_path) -> Project:
    """A project without files."""
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import socket; socket.create_connection(('192.0.2.1', 80))",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 80))",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import urllib.request as u;"
        'u.urlopen("http://192.0.2.1/")\'], check=True)',
    ],
)
def test_python_is_refused_and_seen(guarded, code):
    assert "a test refuses" in guarded.run(sys.executable, "-c", code, code=1)
    assert len(guarded.reached()) == 1


def test_files_outside_are_seen(guarded, tmp_path):
    outside = tmp_path / "elsewhere"
    guarded.run(sys.executable, "-c", "open('inside', 'w'); open('/dev/null', 'w')")
    assert guarded.reached() == []
    guarded.run(sys.executable, "-c", f"open({str(outside)!r}, 'w')")
    (attempt,) = guarded.reached()
    assert str(outside) in attempt
    guarded.run("touch", str(guarded.home / "by native code"))
    assert guarded.left() == ["by native code"]


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to trace")
def test_native_code_that_asks_a_name_server_is_seen(guarded):
    command = guarded.traced("getent", "hosts", "rolekd.example.org")
    subprocess.run(command, cwd=guarded.folder, env=os.environ, timeout=60)
    assert any("htons(53)" in attempt for attempt in guarded.reached())
