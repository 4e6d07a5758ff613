"""Read 100,000 JPEGs of 64x64 as the prepare stage does, once, with its time and its peak memory.

python -m results.data_100000      # writes 0.4 GB of photos to the temporary folder first
"""

import json
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import data, machine

IMAGES = 100_000


def main() -> None:
    """Print seconds and peak memory of all processes together."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data.write_photos(folder / "photos", IMAGES, (data.SIDE, data.SIDE))
        with data._Memory() as memory:
            seconds = data._seconds(partial(data.prepare, folder, 0), IMAGES)
    told = {
        "machine": machine.describe(("pillow", "numpy")),
        "images": IMAGES,
        "seconds": round(seconds, 1),
        "peak_mb": round(memory.peak / 1e6),
    }
    print(json.dumps(told, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
