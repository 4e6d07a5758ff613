"""Read 100,000 JPEGs of 64x64 as the prepare stage does, once, with its time and its peak memory.

python -m results.data_100000               # writes 0.4 GB of photos to the temporary folder first
python -m results.data_100000 --images 5000
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import data, machine


def main() -> None:
    """Print seconds and peak memory of all processes together."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data.write_photos(folder / "photos", images, (data.SIDE, data.SIDE))
        with data._Memory() as memory:
            seconds = data._seconds(partial(data.prepare, folder, 0), images)
    told = {
        "machine": machine.describe(("pillow", "numpy")),
        "images": images,
        "seconds": round(seconds, 1),
        "peak_mb": round(memory.peak / 1e6),
    }
    print(json.dumps(told, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
