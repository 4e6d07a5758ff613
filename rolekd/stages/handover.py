"""One stage in several work trees: one makes it, the others wait and take what it made.

The copies in which `dvc exp run --queue` works share the state of the checkout that they came
from. Two that come to a stage with the same inputs would train the same twice, in one folder.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolekd import files, processes
from rolekd.display import say


@dataclass(frozen=True)
class Handover:
    """What the work trees agree on.

    Attributes:
        state: The folder of the stage's state, named after everything that the stage depends on.
        paths: The files and folders that it writes, relative to the work tree.
    """

    state: Path
    paths: Sequence[Path]

    @contextlib.contextmanager
    def turn(self, what: str) -> Iterator[None]:
        """Hold the stage while the block runs; wait for a holder in another work tree.

        If that has left a result, put it in place and end the process: nothing is left to do.

        Raises:
            RunError: The stage runs in this very work tree.
        """
        lock = self.state.with_name(f"{self.state.name}.lock")
        with contextlib.ExitStack() as stack:

            def wait(holder: str) -> None:
                say(f"{what}: runs in {holder}; its result will be taken", err=True)
                mine = self.state.with_name(f"{self.state.name}.waiting-{os.getpid()}")
                stack.enter_context(processes.exclusive(mine, what))

            with processes.in_turn(lock, what, str(Path.cwd()), wait):
                stack.close()  # this process no longer waits
                # under torchrun one process cannot end alone
                if processes.team_size() == 1 and self._took():
                    say(f"{what}: taken from another work tree")
                    sys.exit(0)
                yield
                if self._is_waited_for() and all(path.exists() for path in self.paths):
                    self._leave()

    @property
    def _result(self) -> Path:
        return self.state.with_name(f"{self.state.name}.result")

    def _is_waited_for(self) -> bool:
        found = False
        for path in self.state.parent.glob(f"{self.state.name}.waiting-*"):
            if processes.is_held(path):
                found = True
            else:  # of a process that was killed
                path.unlink(missing_ok=True)
        return found

    def _leave(self) -> None:
        half = self._result.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        for path in self.paths:
            _copy(path, half / path)
        half.rename(self._result)

    def _took(self) -> bool:
        """Put in place what another work tree has left; the last that waited removes it."""
        if not self._result.is_dir():
            return False
        for path in self.paths:
            _copy(self._result / path, path)
        if not self._is_waited_for():
            shutil.rmtree(self._result)
        return True


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        files.write_bytes(target, source.read_bytes())
