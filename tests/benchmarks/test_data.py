"""`rolekd bench data`: both sides read the same pixels, and the result has the documented form."""

import io
import json
import os

import numpy as np
import pytest
from rich.console import Console

from benchmarks import data
from rolekd.data import dataset as datasets


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """The same files, read by both."""
    folder = tmp_path_factory.mktemp("bench")
    data.write_photos(folder / "photos", 60, (96, 192))
    assert data.prepare(folder, 1) == data.load(folder, 0) == 60
    return folder


def test_both_sides_make_the_same_images(read):
    ours = datasets.load(read / "data").images.astype(int)
    theirs = np.load(read / "peer.npy").transpose(0, 2, 3, 1)
    assert ours.shape == theirs.shape == (60, 64, 64, 3)
    # resizing and cropping in one step or in two differ at the edge of the crop only
    assert np.abs(ours - theirs)[:, :, 2:-2].max() <= 1


def test_the_files_differ_and_have_classes(read):
    held = datasets.load(read / "data")
    assert len({image.tobytes() for image in held.images}) == 60
    assert np.bincount(held.labels).tolist() == [6] * 10


def test_memory_counts_what_a_process_holds():
    with data._Memory() as memory:
        held = np.ones(200_000_000, np.uint8)
        while memory.peak == 0 or memory.peak < held.nbytes < data._memory(os.getpid()):
            pass
    assert memory.peak > held.nbytes


@pytest.mark.slow
def test_the_whole_bench():
    result = data.run(images=300)
    json.dumps(result)
    assert result["500x375"]["images"] == 60
    console = Console(file=io.StringIO(), width=140)
    console.print(data.table(result))
    assert "100,000 images: " in console.file.getvalue()
