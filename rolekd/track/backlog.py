"""The thread that sends records of earlier runs during a run."""

import logging
import threading
from pathlib import Path

from rolekd.secrets import redact

_SECONDS_TO_SEND = 300.0
_SECONDS_OF_GRACE = 10.0  # how long a run that ends waits for it

_log = logging.getLogger("rolekd.track")


class Backlog(threading.Thread):
    """Sends the spools below a folder that no living process writes, once, within five minutes.

    Those that were meant for another store are left to `rolekd sync`, which is told where to.
    It is started when the store has answered, so that a lost one is not waited for twice, and it
    is a thread of its own, so that the run's records do not wait for it. What it does not manage,
    the next run sends.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(name="rolekd-backlog", daemon=True)
        self._folder = folder
        self._uri = uri

    def run(self) -> None:
        """Send; what stays is named in the log."""
        from rolekd.track.sync import sync  # in this thread, as it imports what stages may not need

        try:
            outcomes = sync(self._folder, self._uri, seconds=_SECONDS_TO_SEND, meant=True)
        except Exception as error:  # an earlier run's records must not reach this one's training
            _log.warning("records of earlier runs wait on: %s", redact(str(error)))
            return
        for outcome in outcomes:
            if outcome.problem:
                _log.warning("of an earlier run, %s", redact(outcome.describe()))
            elif outcome.records:
                _log.info("of an earlier run, %s", outcome.describe())

    def finish(self) -> None:
        """Wait for it a little, if it was started; then it ends with the process."""
        if self.ident is not None:
            self.join(_SECONDS_OF_GRACE)
