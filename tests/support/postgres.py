"""A PostgreSQL server for tests, from Debian's package, on loopback, gone with the test."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

# With what a careless log would show, and what a URL must escape.
PASSWORD = "s3cr/t@pass:w"
ESCAPED = "s3cr%2Ft%40pass%3Aw"


class Server:
    """A server of its own, with a password."""

    def __init__(self) -> None:
        self._bin = _binaries()
        folder = Path(tempfile.mkdtemp(prefix="rolekd-postgres-"))  # pytest's are closed to others
        self._folder = folder / "cluster"
        self._log = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._user = []
        if os.geteuid() == 0:  # the server refuses to run as root
            self._user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call(
            "initdb", "-D", self._folder, "-U", "search", f"--pwfile={secret}", "-A",
            "scram-sha-256", "-E", "UTF8", "--no-sync",
        )  # fmt: skip
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://search:{ESCAPED}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        settings = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        settings += f" -c unix_socket_directories={self._folder}"
        self._call("pg_ctl", "-D", self._folder, "-l", self._log, "-w", "-o", settings, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self._folder, "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder.parent)

    def _call(self, program: str, *arguments: object) -> None:
        command = [*self._user, str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", timeout=60
        )
        assert done.returncode == 0, done.stdout.decode()


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    if os.geteuid() == 0:
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    return found[-1].parent
