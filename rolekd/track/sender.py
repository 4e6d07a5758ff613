"""The thread that delivers a run's spool to MLflow during the run."""

import logging
import threading
import time

from rolekd.secrets import redact
from rolekd.track.backlog import Backlog
from rolekd.track.delivery import Delivery, StoreUnreachable
from rolekd.track.spool import Spool

_SECONDS_BETWEEN_SENDS = 1.0
_SECONDS_BETWEEN_TRIES = 10.0
_SECONDS_OF_GRACE = 5.0

_log = logging.getLogger("rolekd.track")


class Sender(threading.Thread):
    """Delivers a spool during its run. mlflow is imported in this thread, not in the run's.

    Records are sent at most once a second, all together, so that a fast training loop does not
    share the interpreter with one call per epoch. If somebody waits, it sends at once. When the
    store has answered, the records of earlier runs are sent, too, beside this one's.
    """

    def __init__(self, spool: Spool, uri: str) -> None:
        super().__init__(name="rolekd-track", daemon=True)
        self.delivery = Delivery(spool.folder, uri, resumed=False)
        self.problem: Exception | None = None
        self._backlog = Backlog(spool.folder.parent, uri)
        self._changed = threading.Condition()
        self._pending = False
        self._urgent = False
        self._deadline: float | None = None  # of closing

    def wake(self) -> None:
        """Report that there is something new to send."""
        with self._changed:
            self._pending = True
            self._changed.notify_all()

    def run_id(self, key: str, timeout: float) -> str | None:
        """Return the MLflow id of a run, waiting for it at most `timeout` seconds.

        A store that is known not to answer is given a few seconds only.
        """
        begin = time.monotonic()
        runs = self.delivery.progress.runs
        with self._changed:
            self._urgent = True
            self._changed.notify_all()
            while key not in runs and self.is_alive():
                waited = time.monotonic() - begin
                if waited > timeout or (self.problem and waited > _SECONDS_OF_GRACE):
                    break
                self._changed.wait(0.2)
            self._urgent = self._deadline is not None
        return runs.get(key)

    def finish(self, timeout: float) -> bool:
        """Wait until everything is delivered, at most `timeout` s; tell whether it is."""
        with self._changed:
            self._deadline = time.monotonic() + _SECONDS_OF_GRACE
            self._urgent = True
            self._changed.notify_all()
        self.join(timeout)
        if not self.is_alive() and self.problem is None:
            self._backlog.finish()
            return True
        _log.warning(
            "MLflow at %s does not have all records of this run (%s); they are kept in %s, and "
            "sent by the next run, or by `rolekd sync`",
            redact(self.delivery.uri),
            redact(str(self.problem or "too slow")),
            self.delivery.folder,
        )
        return False

    def run(self) -> None:
        """Deliver until `finish`; where the store is gone, try again now and then."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._deadline is not None)
                self._pending = False
            problem = self._try()
            if self.delivery.progress.runs and self._backlog.ident is None:  # it has answered
                self._backlog.start()
            with self._changed:
                if problem and not self.problem and self._deadline is None:
                    self._warn(problem)
                self.problem = problem
                self._pending |= problem is not None
                self._changed.notify_all()
                if self._is_done():
                    return
                self._changed.wait_for(lambda: self._urgent, self._pause())
                if problem and self._urgent:
                    self._changed.wait(0.5)

    def _try(self) -> Exception | None:
        try:
            self.delivery.drain()
        except Exception as error:  # whatever happens in this thread must not reach the training
            return error
        return None

    def _is_done(self) -> bool:
        if self._deadline is None:
            return False
        return not self._pending or (self.problem is not None and time.monotonic() > self._deadline)

    def _pause(self) -> float:
        return _SECONDS_BETWEEN_TRIES if self.problem else _SECONDS_BETWEEN_SENDS

    def _warn(self, problem: Exception) -> None:
        fault = "does not answer" if isinstance(problem, StoreUnreachable) else "takes no records"
        _log.warning(
            "MLflow at %s %s (%s); the run continues, its records wait in %s",
            redact(self.delivery.uri),
            fault,
            redact(str(problem)),
            self.delivery.folder,
        )
