"""System metrics of a run: processor, memory, disk, network and GPU, as MLflow measures them.

MLflow's own monitor writes to its server and gives up if it does not answer. This one uses
the same meters and the same names, which the user interface shows on a page of their own, but
records through the run, and so through the spool.
"""

import itertools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

_SECONDS_BETWEEN_SAMPLES = 10.0

_log = logging.getLogger("rolekd.track")


class SystemMetrics(threading.Thread):
    """Measures until it is stopped; at least once."""

    def __init__(self, record: Callable[[dict[str, float], int], None]) -> None:
        super().__init__(name="rolekd-system-metrics", daemon=True)
        self._record = record
        self._end = threading.Event()

    def stop(self) -> None:
        """Take a last sample and end."""
        self._end.set()
        if self.ident is not None:
            self.join()

    def run(self) -> None:
        """Record a sample every ten seconds; its number is the step."""
        try:
            meters = _meters()
            for step in itertools.count():
                ends = self._end.wait(_SECONDS_BETWEEN_SAMPLES)
                values: dict[str, float] = {}
                for meter in meters:
                    meter.collect_metrics()
                    values |= meter.aggregate_metrics()
                    meter.clear_metrics()
                self._record({f"system/{name}": value for name, value in values.items()}, step)
                if ends:
                    return
        except Exception as error:  # whatever happens in this thread must not reach the training
            _log.warning("system metrics stop here (%s); the run itself continues", error)


def _meters() -> "list[BaseMetricsMonitor]":
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    meters = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        meters.append(GPUMonitor())
    except Exception as error:  # no such package, or no such device: MLflow does without, too
        _log.debug("no GPU is measured: %s", error)
    return meters
