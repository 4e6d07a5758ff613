"""The registered student over HTTP: right answers, and nothing that a client sends is our fault."""

import io
import itertools
import json
import re
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import servers
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from rolekd.data.batches import Normalize
from rolekd.data.dataset import Dataset
from rolekd.export import session
from rolekd.export.predict import classify
from rolekd.export.write import export
from rolekd.params import DataParams, Params, TrackParams
from rolekd.quantize.lower import lower
from rolekd.registry import versions
from rolekd.sources.images import read
from rolekd.sources.prepare import prepare
from rolekd.track import runs
from rolekd.train import roles
from rolekd.train.evaluate import predict_integers

NAME = "rolekd-digits-student"
Served = dict[str, servers.Server]

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Student:
    """A registered low-bit student, and what PyTorch's integer evaluation says of the test images.

    Attributes:
        folder: its project, with the MLflow store.
        images: the test images, uint8 [N, 8, 8, 1].
        classes: the class of each, [N].
    """

    folder: Path
    images: NDArray[np.uint8]
    classes: NDArray[np.int64]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Student:
    folder = tmp_path_factory.mktemp("served")
    (folder / "digits").mkdir()
    (folder / "params.yaml").write_text("{}\n")
    shutil.copyfile(fresh_store, folder / "mlflow.db")
    dataset = prepare(DataParams(path=folder / "digits"), 0)
    network = _trained(dataset)
    integers = lower(network, mean=dataset.mean, std=dataset.std, image_size=dataset.image_size)
    path = folder / "student.onnx"
    export(integers, path, classes=dataset.classes, target="cpu", metadata={})
    images, _ = dataset.split("test")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with runs.start("register", experiment="rolekd-digits", track=TrackParams(uri=uri)) as run:
            versions.register(path, name=NAME, run_id=run.run_id(), example=images[:2], uri=uri)
    return Student(folder, images, predict_integers(network, images, dataset).argmax(1))


def _trained(dataset: Dataset) -> nn.Module:
    """Train for a second: enough that the classes differ from image to image."""
    images, labels = dataset.split("train")
    params = Params()
    teacher, _ = roles.teacher(params.teacher, dataset, 0)
    network, _ = roles.student(params.student, dataset, 0, teacher)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    normalize = Normalize(dataset)
    for start in range(0, 40 * 32, 32):
        part = slice(start, start + 32)
        answers = network(normalize(images[part]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(answers, torch.from_numpy(labels[part]).long()).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def served(student: Student) -> Iterator[Served]:
    """MLflow's own server and ours; both load at once."""
    address = f"models:/{NAME}@challenger"
    with (
        servers.started(servers.mlflows, address, student.folder) as mlflows,
        servers.started(servers.ours, address, student.folder) as ours,
    ):
        yield {"mlflow": servers.wait(mlflows), "rolekd": servers.wait(ours)}


@pytest.mark.parametrize("which", ["mlflow", "rolekd"])
def test_every_test_image_gets_the_class_of_the_integer_evaluation(
    student: Student, served: Served, which: str
) -> None:
    parts = np.array_split(student.images, 7)
    found = np.concatenate([served[which].classes(part) for part in parts])
    assert len(set(student.classes)) > 5
    np.testing.assert_array_equal(found, student.classes)


ONE = np.zeros((1, 8, 8, 1))
NOT_BYTES = {
    "nan": ONE * np.nan,
    "infinity": ONE + np.inf,
    "negative": ONE - 1,
    "large": ONE.astype(int) + 256,
    "fraction": ONE + 0.5,
    "text": np.full((1, 8, 8, 1), "7"),
    "truth": ONE > 0,
    "height": np.zeros((1, 7, 8, 1), int),
    "channels": np.zeros((1, 8, 8, 3), int),
    "rank": np.zeros((8, 8), int),
    "empty": np.zeros((0, 8, 8, 1), int),
}
BODIES = {
    **{name: servers.body_of(array) for name, array in NOT_BYTES.items()},
    "ragged": b'{"inputs": {"image": [[1], [1, 2]]}}',
    "null": b'{"inputs": {"image": null}}',
    "object": b'{"inputs": {"image": {"a": 1}}}',
    "scalar": b'{"inputs": 5}',
    "another name": b'{"inputs": {"picture": [[1]]}}',
    "no inputs": b"{}",
    "a list": b"[1]",
    "a chat": b'{"messages": [{"role": "user", "content": "hi"}]}',
    "a table": b'{"dataframe_split": {"columns": ["image"], "data": [[1]]}}',
    "broken": b'{"inputs": [',
    "not UTF-8": b"\xff\xfe{}",
    "nothing": b"",
    "deep": b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "many digits": b'{"inputs": [' + b"9" * 6000 + b"]}",
    "endless nesting": b"[" * 1_000_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_request_is_the_clients_fault(served: Served, name: str) -> None:
    status, answer = served["rolekd"].post(BODIES[name])
    assert status == 400, answer
    assert json.loads(answer)["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/csv"},
        {"Content-Type": "application/vnd.apache.parquet"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json; version=1"},
    ],
)
@pytest.mark.parametrize("body", [b'{"inputs": [', b"1," * 60_000, b'a,b\n1,2,3\n"'])
def test_only_json_is_let_in(served: Served, headers: dict[str, str], body: bytes) -> None:
    status, answer = served["rolekd"].post(body, headers)
    assert status == 415
    assert json.loads(answer).keys() == {"error_code", "message"}
    assert b"\n" not in answer


def test_json_may_name_its_charset(served: Served, student: Student) -> None:
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert served["rolekd"].post(servers.body_of(student.images[:1]), headers)[0] == 200


FORMS: dict[str, Callable[[list], object]] = {
    "named": lambda images: {"inputs": {"image": images}},
    "bare": lambda images: {"inputs": images},
    "instances": lambda images: {"instances": images},
    "rows": lambda images: {"instances": [{"image": image} for image in images]},
    "parameters": lambda images: {"inputs": images, "params": {"temperature": 1}},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_client_of_mlflows_server_gets_the_same_answer(
    served: Served, student: Student, form: str
) -> None:
    body = json.dumps(FORMS[form](student.images[:3].tolist())).encode()
    answers = [served[which].post(body) for which in ("mlflow", "rolekd")]
    assert [status for status, _ in answers] == [200, 200]
    theirs, ours = (json.loads(answer) for _, answer in answers)
    assert ours == theirs


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_what_mlflows_server_says_of_itself(served: Served, path: str) -> None:
    theirs, ours = (served[which].get(path) for which in ("mlflow", "rolekd"))
    assert ours == theirs
    assert ours[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *[(path, 404) for path in ("/docs", "/redoc", "/openapi.json", "/index.html")],
        ("/invocations", 405),
        ("/classify", 405),
    ],
)
def test_no_other_page_answers(served: Served, path: str, status: int) -> None:
    found, answer = served["rolekd"].get(path)
    assert found == status
    assert json.loads(answer).keys() == {"error_code", "message"}


def test_a_body_of_100_megabytes_is_refused_and_not_kept(served: Served) -> None:
    server = served["rolekd"]
    before = server.memory()
    for _ in range(3):
        status, answer = server.post(b'{"inputs": "' + b"x" * 100_000_000 + b'"}')
        assert status == 413
        assert len(answer) < 1000
    assert server.memory() < before + 50
    assert server.is_up()


def test_eight_megabytes_of_empty_lists_are_refused_and_not_built(served: Served) -> None:
    server = served["rolekd"]
    before = server.peak_memory()
    body = b'{"inputs": {"image": [' + b"[]," * 2_790_000 + b"[]]}}"
    status, answer = server.post(body)
    assert status == 400, answer
    assert len(answer) < 1000
    assert server.peak_memory() < before + 100


def test_many_images_are_answered_in_order(served: Served, student: Student) -> None:
    """More than the server runs at once."""
    images = np.concatenate([student.images] * 8)
    np.testing.assert_array_equal(served["rolekd"].classes(images), np.tile(student.classes, 8))


def _png(image: NDArray[np.uint8], size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).resize(size, Image.Resampling.NEAREST).save(file, kind)
    return file.getvalue()


def _form(files: dict[str, bytes]) -> tuple[bytes, dict[str, str]]:
    line = b"--line"
    parts = [
        line + f'\r\nContent-Disposition: form-data; name="photo"; filename="{name}"'.encode()
        + b"\r\nContent-Type: image/png\r\n\r\n" + content + b"\r\n"
        for name, content in files.items()
    ]  # fmt: skip
    return b"".join(parts) + line + b"--\r\n", {
        "Content-Type": "multipart/form-data; boundary=line"
    }


def test_photos_get_the_class_of_the_integer_evaluation(served: Served, student: Student) -> None:
    server = served["rolekd"]
    photos = {f"{number}.png": _png(image) for number, image in enumerate(student.images[:20])}
    status, answer = server.post(*_form(photos), "/classify")
    assert status == 200, answer
    told = json.loads(answer)["predictions"]
    assert [one["image"] for one in told] == list(photos)
    assert [int(one["class"]) for one in told] == student.classes[:20].tolist()
    for one in told:
        assert max(one["probabilities"].values()) == one["probability"]
        assert list(one["probabilities"].values()) == sorted(one["probabilities"].values())[::-1]
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    status, answer = server.post(photos["0.png"], {"Content-Type": "image/png"}, "/classify")
    assert json.loads(answer)["predictions"] == [{**told[0], "image": None}]


def test_a_photo_gets_the_pixels_of_training(
    served: Served, student: Student, tmp_path: Path
) -> None:
    """Also of a JPEG that training decodes smaller; `rolekd predict` says the same."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(_png(student.images[3], (640, 480), "JPEG"))
    status, answer = served["rolekd"].post(
        path.read_bytes(), {"Content-Type": "image/jpeg"}, "/classify"
    )
    assert status == 200
    (told,) = json.loads(answer)["predictions"]
    network = session.load(student.folder / "student.onnx")
    _, shares = network(read(path, 8, 1)[np.newaxis])
    assert told["class"] == network.classes[shares[0].argmax()]
    assert told["probability"] == pytest.approx(float(shares.max()), abs=1e-6)
    (predicted,) = classify(network, [str(path)], resize=True)
    assert told["probabilities"] == predicted.probabilities


PNG = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data; boundary=line"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"no image", PNG, 400, "the image: cannot be read: is not a JPEG"),
        (b"", PNG, 400, "the image: cannot be read"),
        (b"x", {}, 415, "send image/jpeg, image/png or multipart/form-data"),
        (b"x", {"Content-Type": "application/json"}, 415, "not that of images"),
        (b"x", FORM, 400, "not a whole multipart/form-data"),
        (b"x", {"Content-Type": "multipart/form-data"}, 400, "not a whole multipart/form-data"),
        (b"--line--\r\n", FORM, 400, "holds no file"),
        (*_form({"a\x1b.png": b"x"}), 400, r"a\x1b.png: cannot be read: is not a JPEG"),
        (*_form({str(number): b"x" for number in range(40)}), 400, "more than 32 parts"),
        (b"x" * 20_000_000, PNG, 413, "send fewer or smaller images"),
    ],
)
def test_what_is_not_a_photo_is_the_clients_fault(
    served: Served, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    found, answer = served["rolekd"].post(body, headers, "/classify")
    assert found == status, answer
    told = json.loads(answer)
    assert told.keys() == {"error_code", "message"}
    assert message in told["message"]
    assert "\n" not in told["message"]


def test_the_page_fetches_nothing_from_elsewhere(served: Served) -> None:
    status, answer = served["rolekd"].get("/")
    text = answer.decode()
    assert status == 200
    assert f"models:/{NAME}@challenger" in text
    assert "10 classes" in text
    assert "8 × 8 pixels" in text
    assert not re.search(
        r"(src|href)\s*=|https?://|@import|url\(", text.replace("picture.src =", "")
    )


@pytest.mark.slow
def test_fifty_clients_for_a_minute(
    served: Served, student: Student, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four of five requests are good, the others everything above in turn."""
    server = served["rolekd"]
    good, wanted = servers.body_of(student.images[:8]), student.classes[:8].tolist()
    bad = [*BODIES.values(), b"x" * 20_000_000]
    counts: Counter[int] = Counter()
    seconds: list[float] = []
    memory = [server.memory()]
    end = time.monotonic() + 60

    def client(number: int) -> None:
        for turn in itertools.count(number):
            if time.monotonic() > end:
                return
            body = bad[turn // 5 % len(bad)] if turn % 5 == 4 else good
            began = time.monotonic()
            status, answer = server.post(body)
            seconds.append(time.monotonic() - began)
            counts[status] += 1
            if body is good:
                assert status == 200, answer
                logits = np.asarray(json.loads(answer)["predictions"]["logits"])
                assert logits.argmax(1).tolist() == wanted
            else:
                assert status in (400, 413), answer

    with ThreadPoolExecutor(50) as pool:
        clients = [pool.submit(client, number) for number in range(50)]
        while time.monotonic() < end:
            time.sleep(5)
            memory.append(server.memory())
        for one in clients:
            one.result()
    assert server.is_up()
    assert sum(counts.values()) > 50
    settled, last = memory[len(memory) // 3], memory[-1]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{dict(counts)}, median {statistics.median(seconds):.3f} s, longest "
            f"{max(seconds):.2f} s, memory in MB every 5 s: {[round(one) for one in memory]}\n"
        )
    assert last < settled + 100
