"""The seats of worker processes on this machine: each a core, or a share of a GPU.

A seat is what a worker has in its environment besides the parent's. Workers take it before they
touch a GPU, so each sees only the GPU that it was given: trainings do not know about the others.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

from rolekd import processes
from rolekd.params import MachineParams
from rolekd.train import devices

Seat = Mapping[str, str]


def seats(
    machine: MachineParams, threads: int, tasks: int, gpus: Sequence[str] | None = None
) -> list[Seat]:
    """Return the seats of this machine's workers, one at least.

    Args:
        machine: Device, workers, workers_per_gpu.
        threads: Of a training. With several each, workers do not get more threads than cores:
            they would wait for one another.
        tasks: More workers than these would have nothing to do.
        gpus: Those of this machine, as `devices.gpus` returned before this process took a seat;
            None: it has not taken one.

    Raises:
        InputError: A GPU is required, but there is none.
    """
    places: list[Seat] = [{}]
    most: float = math.inf if threads == 1 else max(processes.cores() // threads, 1)
    wanted = machine.workers
    if processes.team_size() > 1:  # torchrun brings its own processes
        return places
    if devices.resolve(machine.device).type == "cuda":
        # all GPUs once, then all a second time
        names = [*(devices.gpus() if gpus is None else gpus)]
        places = [{devices.VISIBLE: gpu} for gpu in names * machine.workers_per_gpu]
        count = len(places) if wanted == "auto" else wanted
    else:
        count = max(processes.cores() // threads, 1) if wanted == "auto" else wanted
    count = int(max(1, min(count, tasks, most)))
    return list(itertools.islice(itertools.cycle(places), count))
