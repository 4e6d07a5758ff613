"""docs/own-data.md, step by step, on generated photos."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(900)

CLASSES = ("red door", "größe")
COUNT = 40


def _photo(path, number, seed):
    """One photo of a class: its own colour and stripes, under noise."""
    generator = np.random.default_rng([number, seed])
    pixels = generator.integers(0, 90, (20 + seed % 9, 26, 3))
    pixels[:, :: 2 + number, number] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _photos(folder):
    for number, name in enumerate(CLASSES):
        for i in range(COUNT):
            _photo(folder / name / f"{i}.{('png', 'jpg', 'webp', 'bmp')[i % 4]}", number, i)


def _use(project):
    """The steps of the page up to `dvc repro`."""
    _photos(project.folder / "data/raw/doors")
    project.run("dvc", "add", "data/raw/doors")
    project.run("git", "add", "data/raw/doors.dvc", "data/raw/.gitignore")
    project.set(
        data={"source": "image-folder", "path": "data/raw/doors", "image_size": 16, "channels": 3}
    )
    project.run("git", "commit", "-qam", "photos of doors")


def _prepared(project):
    return json.loads((project.folder / "outputs/prepare/metrics.json").read_text())


def test_a_changed_image_runs_prepare_again_and_an_old_state_comes_back(fresh, tmp_path_factory):
    _use(fresh)
    fresh.run("dvc", "repro", "prepare")
    first = _prepared(fresh)
    assert first["images_train"] + first["images_test"] == 2 * COUNT
    assert first["duplicates"] == 0
    assert "didn't change" in fresh.run("dvc", "repro", "prepare")
    fresh.run("dvc", "remote", "add", "-d", "shelf", str(tmp_path_factory.mktemp("shelf")))
    fresh.run("dvc", "push", "data/raw/doors")

    photo = fresh.folder / "data/raw/doors" / CLASSES[0] / "0.png"
    photo.unlink()
    _photo(photo, 0, 999)
    fresh.run("dvc", "add", "data/raw/doors")
    assert "Running stage 'prepare'" in fresh.run("dvc", "repro", "prepare")
    assert _prepared(fresh)["data_digest"] != first["data_digest"]

    # back to the version of the commit, from the remote alone
    fresh.run("git", "checkout", "-q", "HEAD", "--", "data/raw/doors.dvc")
    shutil.rmtree(fresh.folder / "data/raw/doors")
    shutil.rmtree(fresh.folder / ".dvc/cache")
    fresh.run("dvc", "pull", "data/raw/doors")
    fresh.run("dvc", "repro", "prepare")
    assert _prepared(fresh)["data_digest"] == first["data_digest"]


def test_raw_data_that_was_not_pulled_is_named(fresh):
    _use(fresh)
    shutil.rmtree(fresh.folder / "data/raw/doors")
    output = fresh.run("python", "-m", "pipelines.prepare", code=2)
    assert "error: data/raw/doors: is missing" in output
    assert "dvc pull" in output


@pytest.mark.slow
def test_photos_become_a_registered_model(fresh):
    _use(fresh)
    fresh.run("dvc", "repro")
    version = json.loads((fresh.folder / "outputs/register/version.json").read_text())
    assert version["name"] == "rolekd-doors-student"
    exported = json.loads((fresh.folder / "outputs/export/metrics.json").read_text())
    assert exported["argmax_equal"] == exported["images"] == _prepared(fresh)["images_test"]


def test_photos_go_to_s3_and_come_back(fresh):
    moto = pytest.importorskip("moto.server")
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        address = f"http://{host}:{port}"
        boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        ).create_bucket(Bucket="photos")
        _use(fresh)
        fresh.run("dvc", "remote", "add", "-d", "bucket", "s3://photos/raw")
        fresh.run("dvc", "remote", "modify", "bucket", "endpointurl", address)
        fresh.run("dvc", "push", "data/raw/doors", **keys)
        shutil.rmtree(fresh.folder / "data/raw/doors")
        shutil.rmtree(fresh.folder / ".dvc/cache")
        fresh.run("dvc", "pull", "data/raw/doors", **keys)
    finally:
        server.stop()
    assert len(list((fresh.folder / "data/raw/doors").rglob("*.*"))) == 2 * COUNT
