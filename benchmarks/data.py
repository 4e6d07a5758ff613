"""`rolekd bench data`: JPEG files -> arrays, by the prepare stage's code and by torchvision's.

The peer is torchvision's `ImageFolder` under a `DataLoader` with one process per core, Pillow
resizing and cropping: how a training loop usually reads a folder. It only gathers the pixels in
memory. Ours also writes them to disk, hashes them, finds duplicates and makes the splits.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from benchmarks import machine
from rolekd import processes

SIDE = 64  # of the arrays, in pixels
OURS, PEER = "rolekd", "torchvision ImageFolder"
# name -> height and width of the files, share of the images asked for
CASES = {"64x64": ((64, 64), 1.0), "500x375": ((375, 500), 0.2)}
_CLASSES = 10
_SAMPLES = 0.2  # seconds between looks at the memory
_BATCH = 64  # what our own decoder hands over at once
_PACKAGES = ("pillow", "numpy", "torch", "torchvision")


def run(images: int = 10_000) -> dict[str, Any]:
    """Measure with `images` files of 64x64 and a fifth as many of 500x375, each in new processes.

    Seconds are wall time; peaks are of all processes together, shared pages counted once.
    """
    cores = processes.cores()
    result: dict[str, Any] = {"machine": machine.describe(_PACKAGES), "processes": cores}
    for name, (size, share) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            count = max(round(images * share), 6 * _CLASSES)
            few, all_of_them = Path(folder, "few"), Path(folder, "all")
            write_photos(few / "photos", 6 * _CLASSES, size)
            write_photos(all_of_them / "photos", count, size)
            # files that were just written lie in memory, for both alike
            ours, peer = (
                _measured(partial(work, few, cores), partial(work, all_of_them, cores), count)
                for work in (prepare, load)
            )
        result[name] = {
            "images": count,
            OURS: ours,
            PEER: peer,
            "times_peer": round(peer["seconds"] / ours["seconds"], 2),
            "minutes_for_100000": round(ours["seconds"] * 100_000 / count / 60, 2),
        }
    return result


def table(result: dict[str, Any]) -> Table:
    """Show a result to people."""
    shown = Table("files", "images", "by", "images/s", "peak MB", f"times {PEER}")
    for name in CASES:
        case = result[name]
        for by, ratio in ((OURS, case["times_peer"]), (PEER, 1.0)):
            row = case[by]
            shown.add_row(
                name,
                str(case["images"]),
                by,
                f"{row['images_per_second']:,.0f}",
                f"{row['peak_mb']:,.0f}",
                f"{ratio:.2f}",
            )
    minutes = ", ".join(f"{result[name]['minutes_for_100000']} min of {name}" for name in CASES)
    shown.caption = (
        f"JPEG to {SIDE}x{SIDE}x3, {result['processes']} processes. 100,000 images: {minutes}."
    )
    return shown


def write_photos(root: Path, count: int, size: tuple[int, int]) -> None:
    """Write different JPEGs of `size`, height and width, in a folder for each class."""
    from PIL import Image

    from benchmarks import peers

    for number in range(count):
        folder = root / f"class {number % _CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = peers.images(1, (*size, 3), seed=number)[0]
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)


def prepare(folder: Path, processes: int) -> int:
    """Do what the prepare stage does; return the number of images.

    Like the stage, it takes as many processes as there are cores, whatever `processes`.
    """
    del processes
    from rolekd.params import DataParams
    from rolekd.sources.prepare import prepare_folder

    params = DataParams(source="image-folder", path=folder / "photos", image_size=SIDE)
    return len(prepare_folder(params, 0, folder / "data")[0].labels)


def load(folder: Path, processes: int) -> int:
    """Read the same files as a torchvision user would; return the number of images."""
    import numpy as np
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [v2.Resize(SIDE, v2.InterpolationMode.BICUBIC), v2.CenterCrop(SIDE), v2.PILToTensor()]
    )
    images = ImageFolder(folder / "photos", transform)
    pixels = np.empty((len(images), 3, SIDE, SIDE), np.uint8)
    done = 0
    # forked, as by default: a spawned process, which this is, would spawn and import anew
    context = "fork" if processes else None
    loader = DataLoader(images, _BATCH, num_workers=processes, multiprocessing_context=context)
    for batch, _ in loader:
        pixels[done : done + len(batch)] = batch.numpy()
        done += len(batch)
    np.save(folder / "peer.npy", pixels)
    return done


def _measured(warm: Callable[[], int], work: Callable[[], int], count: int) -> dict[str, float]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(warm).result()  # imports
        seconds = pool.submit(_seconds, work, count).result()
        # a run of its own: looking at memory takes time
        peak = pool.submit(_peak, work).result()
    return {
        "seconds": round(seconds, 3),
        "images_per_second": round(count / seconds, 1),
        "peak_mb": round(peak / 1e6, 1),
    }


def _seconds(work: Callable[[], int], count: int) -> float:
    begin = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - begin
    if done != count:
        raise RuntimeError(f"{done} of {count} images were read")
    return seconds


def _peak(work: Callable[[], int]) -> int:
    with _Memory() as memory:
        work()
    return memory.peak


class _Memory:
    """Looks at this process and its children now and then; `peak` in bytes (Linux)."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLES):
            self.peak = max(self.peak, _memory(os.getpid()))


def _memory(pid: int) -> int:
    """Return the bytes that a process and its descendants occupy, shared pages in proportion."""
    own = 0
    children: set[str] = set()
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                own = 1024 * int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            children |= set((task / "children").read_text().split())
    except OSError:  # it has just ended
        return own
    return own + sum(_memory(int(child)) for child in children)
