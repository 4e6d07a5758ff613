import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from onnx_models import linear_model
from PIL import Image

from rolekd import files
from rolekd.cli.predict import predict
from rolekd.cli.registry import promote
from rolekd.cli.serve import serve
from rolekd.errors import InputError, RolekdError
from rolekd.export import selftest, session
from rolekd.export.predict import classify
from rolekd.registry import serving, versions
from rolekd.registry.evidence import Evidence
from rolekd.sources.decode import KINDS
from rolekd.track import runs


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (7, 8, 8), dtype=np.uint8)


@pytest.fixture
def folder(project: Path, images: NDArray[np.uint8]) -> Path:
    """A folder of images beside a model."""
    target = project / "images" / "nested"
    target.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(target / f"{number}.png")
    (target / "notes.txt").write_text("no image")
    linear_model(project / "student.onnx")
    return target.parent


def call(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(predict, ["--model", "student.onnx", *arguments], input=stdin)


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


@pytest.mark.parametrize("batch", ["1", "3", "64"])
def test_a_folder_is_predicted_as_the_arrays_are(
    folder: Path, images: NDArray[np.uint8], batch: str
) -> None:
    result = call("--batch", batch, str(folder))
    assert result.exit_code == 0
    _, shares = session.load("student.onnx")(images[..., None])
    found = rows(result)
    assert [row["class"] for row in found] == [f"digit {best}" for best in shares.argmax(1)]
    probabilities = [float(row["probability"]) for row in found]
    np.testing.assert_allclose(probabilities, shares.max(1), atol=1e-6)
    assert [Path(row["image"]).name for row in found] == [f"{n}.png" for n in range(7)]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_names_are_not_blanked_since_others_open_them(folder: Path, form: str) -> None:
    """They can look like an address with a password."""
    target = folder / "me:word@home token=abc.png"
    (folder / "nested" / "0.png").rename(target)
    result = call(str(target), *(["--json"] if form == "json" else []))
    assert result.exit_code == 0
    found = json.loads(result.stdout) if form == "json" else rows(result)[0]
    assert Path(found["image"]) == target


@pytest.mark.timeout(60)
def test_pipes_devices_and_long_names_are_reported_and_the_rest_continues(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    result = call("x" * 300, str(folder / "pipe.png"), str(folder))
    assert result.exit_code == 1
    errors = [row["error"] for row in rows(result)]
    assert errors[0] == "cannot be read: File name too long"
    pipe = "cannot be read: is a pipe or a device, not a regular file"
    assert errors.count(pipe) == 3
    assert errors.count("") == 7
    assert "4 of the images" in result.stderr


@pytest.mark.timeout(60)
def test_a_model_that_is_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe.onnx")
    with pytest.raises(InputError, match=r"pipe\.onnx: cannot be read \(is a pipe"):
        session.load(folder / "pipe.onnx")


def test_broken_images_are_reported_and_the_rest_continues(
    folder: Path, images: NDArray[np.uint8]
) -> None:
    good = (folder / "nested/0.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_bytes(b"no image at all")
    Image.new("L", (9, 8)).save(folder / "wide.png")
    result = call("--json", str(folder), "nowhere.png")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    errors = {Path(line["image"]).name: line["error"] for line in lines if line["error"]}
    assert set(errors) == {"cut.png", "empty.png", "text.png", "wide.png", "nowhere.png"}
    assert errors["wide.png"].startswith("is 9x8 pixels, not 8x8; give --resize")
    assert errors["nowhere.png"] == "cannot be read: No such file or directory"
    assert len(lines) == 7 + 5
    assert "5 of the images" in result.stderr


def test_other_sizes_and_colours_can_be_scaled(folder: Path, images: NDArray[np.uint8]) -> None:
    large = Image.fromarray(images[0]).convert("RGBA").resize((80, 80), Image.Resampling.NEAREST)
    large.save(folder / "large.png")
    expected = rows(call(str(folder / "nested/0.png")))[0]["class"]
    assert rows(call("--resize", str(folder / "large.png")))[0]["class"] == expected


def test_scaled_images_are_those_of_training(folder: Path, images: NDArray[np.uint8]) -> None:
    # its sides are cropped, not squeezed; it stands upright, and is laid on white
    wide = np.concatenate([255 - images[0], images[0], 255 - images[1]], axis=1)
    exif = Image.Exif()
    exif[0x0112] = 8  # stored lying on its side
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(wide, -1)))
    stored.save(folder / "wide.png", exif=exif)
    expected = rows(call(str(folder / "nested/0.png")))[0]
    found = rows(call("--resize", str(folder / "wide.png")))[0]
    assert found == {**expected, "image": str(folder / "wide.png")}

    clear = Image.new("LA", (8, 8), (0, 0))
    clear.save(folder / "clear.png")
    Image.new("L", (8, 8), 255).save(folder / "white.png")
    clear, white = rows(call(str(folder / "clear.png"), str(folder / "white.png")))
    assert clear["probability"] == white["probability"]


def test_a_folder_without_images_is_told(folder: Path) -> None:
    (folder / "none").mkdir()
    (folder / "none" / "notes.txt").write_text("no image")
    (folder / "none" / ".hidden.png").write_text("no image")
    result = call(str(folder / "none"))
    assert rows(result)[0]["error"] == f"contains no {KINDS} image"
    assert result.exit_code == 1


def test_linked_folders_are_followed_only_where_they_are_given(
    folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(folder / "nested")
    assert len(rows(call(str(link)))) == len([*(folder / "nested").glob("*.png")])
    (folder / "nested" / "more").symlink_to(folder / "none")
    (folder / "none").mkdir()
    *_, last = rows(found := call(str(folder / "nested")))
    assert last["image"] == str(folder / "nested/more")
    assert last["error"] == "a link to a folder, which is not followed; name the folder itself"
    assert found.exit_code == 1
    (given,) = rows(call(str(folder / "nested/more")))
    assert (given["image"], given["error"]) == (
        str((folder / "none").resolve()), f"contains no {KINDS} image",
    )  # fmt: skip


def test_standard_input(folder: Path) -> None:
    content = (folder / "nested/3.png").read_bytes()
    (piped,) = rows(call("-", stdin=content))
    (filed,) = rows(call(str(folder / "nested/3.png")))
    assert piped == {**filed, "image": "-"}


def test_registered_model(folder: Path) -> None:
    with runs.start("register", experiment="rolekd-digits") as run:
        versions.register(
            Path("student.onnx"),
            name="rolekd-digits-student",
            run_id=run.run_id(),
            example=np.zeros((1, 8, 8, 1), np.uint8),
        )
    for address in ("models:/rolekd-digits-student@challenger", "models:/rolekd-digits-student/1"):
        result = CliRunner().invoke(predict, ["--model", address, str(folder)])
        assert rows(result) == rows(call(str(folder)))


def test_a_version_for_other_processors_is_neither_run_nor_served_nor_promoted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "models:/rolekd-digits-student@challenger"
    path = linear_model(Path("student.onnx"), largest_pair=2 * 255 * 127)
    with runs.start("register", experiment="rolekd-digits") as run:
        versions.register(
            path,
            name="rolekd-digits-student",
            run_id=run.run_id(),
            example=np.zeros((1, 8, 8, 1), np.uint8),
            description=versions.Description(
                evidence=Evidence("d", (1,), (1,), 1.0, 1, 1, 1, files.sha256(path), "kd", (1.0,))
            ),
        )
    monkeypatch.setattr(selftest, "exact", lambda: False)
    monkeypatch.setattr(serving, "serve", lambda *_: pytest.fail("it is served"))
    for command, arguments, name in (
        (predict, ["--model", address, str(folder)], address),
        (predict, ["--model", "student.onnx", str(folder)], "student.onnx"),
        (serve, ["--model", address], address),
        (promote, [], "promote: version 1"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert isinstance(result.exception, InputError), result.output
        assert str(result.exception).startswith(f"{name}: gives wrong classes on this processor")


@pytest.mark.parametrize("address", ["models:/", "models:name@champion", "models:/a@b@c"])
def test_bad_addresses(folder: Path, address: str) -> None:
    result = CliRunner().invoke(predict, ["--model", address, str(folder)])
    assert isinstance(result.exception, InputError)
    assert "models:/NAME@champion" in str(result.exception)


def test_unknown_models(folder: Path) -> None:
    for address in ("models:/nothing@champion", "none.onnx", "params.yaml"):
        result = CliRunner().invoke(predict, ["--model", address, str(folder)])
        assert isinstance(result.exception, RolekdError), address


def test_model_without_class_names(folder: Path) -> None:
    known = session.load("student.onnx")
    metadata = {key: text for key, text in known.metadata.items() if key != "classes"}
    network = session.Session(known.runtime, metadata, "student.onnx")
    with pytest.raises(InputError, match="does not name its classes"):
        list(classify(network, ["-"]))
