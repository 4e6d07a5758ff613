import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from onnx_models import linear_model
from scipy.stats import binom

from rolekd import files
from rolekd.cli import registry as commands
from rolekd.errors import InputError, RolekdError, RunError
from rolekd.params import PromoteParams
from rolekd.registry import evidence as evidences
from rolekd.registry import promotion, versions
from rolekd.registry.evidence import Evidence
from rolekd.registry.gates import Gate, judge, loss_p_value
from rolekd.track import runs

NAME = "rolekd-digits-student"
IMAGES = 200
LABELS = tuple(int(label) for label in np.random.default_rng(0).integers(0, 10, IMAGES))
# latency of two processes on a shared machine says nothing here; its gate has a test of its own
LIMITS = PromoteParams(latency_ratio=1000.0)


def measured(wrong: int, sha256: str = "ab", first: int = 0) -> Evidence:
    """Evidence of a student that is wrong on the images first..first + wrong - 1."""
    mistaken = set(range(first, first + wrong))
    predictions = [(y + 1) % 10 if i in mistaken else y for i, y in enumerate(LABELS)]
    return Evidence(
        data_digest="d1",
        predictions=tuple(predictions),
        labels=LABELS,
        teacher_accuracy=0.99,
        parity_images=IMAGES,
        parity_equal=IMAGES,
        bytes=1000,
        sha256=sha256,
        arm="kd-rolewise",
        accuracies=(0.9,),
    )


def verdicts(gates: list[Gate]) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in gates}


def test_without_a_champion_only_the_rest_is_asked() -> None:
    found = verdicts(judge(measured(10), None, None, PromoteParams()))
    assert list(found.values()).count("not asked") == 3
    assert list(found.values()).count("pass") == 5


@pytest.mark.parametrize(
    ("candidate", "limits", "gate"),
    [
        (measured(200 - 25), {"teacher_points_lost": 100.0}, "accuracy"),
        (measured(20), {"accuracy_least": 90.1}, "accuracy"),
        (measured(20), {"test_images_least": 201}, "test images"),
    ],
)
def test_the_first_promotion_is_asked_too(candidate: Evidence, limits: dict, gate: str) -> None:
    found = judge(candidate, None, None, PromoteParams(**limits))
    assert [one.name for one in found if one.verdict == "refused"] == [gate]
    for names, value in (("accuracy_least", 90.0), ("test_images_least", 200)):
        lenient = PromoteParams(**{names: value, "teacher_points_lost": 100.0})
        assert not [one for one in judge(measured(20), None, None, lenient) if "ref" in one.verdict]


def test_the_gates_show_accuracy_and_chance() -> None:
    first, second, *_ = judge(measured(10), None, None, PromoteParams())
    share = 100 * np.bincount(LABELS).max() / IMAGES
    assert first.found.startswith("95.00 %, p = ")
    assert first.wanted == f"above {share:.2f} %, the largest class, p below 0.05"
    assert (second.found, second.wanted) == ("200", "at least 100")


@pytest.mark.parametrize(
    ("candidate", "ratio", "gate"),
    [
        (measured(13), 1.0, "accuracy against the champion"),
        (replace(measured(10), teacher_accuracy=1.5), 1.0, "drop against the teacher"),
        (replace(measured(10), parity_equal=199), 1.0, "same class as PyTorch"),
        (replace(measured(10), parity_images=5, parity_equal=5), 1.0, "same class as PyTorch"),
        (replace(measured(10), bytes=10**9), 1.0, "size"),
        (measured(10), 1.3, "latency against the champion"),
    ],
)
def test_each_gate_refuses_alone(candidate: Evidence, ratio: float, gate: str) -> None:
    found = verdicts(judge(candidate, measured(10), ratio, PromoteParams()))
    assert [name for name, verdict in found.items() if verdict == "refused"] == [gate]


def test_paired_test_sees_what_the_difference_hides() -> None:
    """12 images lost and none won is not a chance; 22 lost and 12 won may be."""
    limits = PromoteParams(accuracy_points_lost=100.0)
    gate = "paired test on the same images"
    worse = judge(measured(22), measured(10), 1.0, limits)
    assert verdicts(worse)[gate] == "refused"
    mixed = judge(measured(22, first=12), measured(12), 1.0, limits)
    assert verdicts(mixed)[gate] == "pass"


@given(st.integers(0, 40), st.integers(0, 40))
def test_paired_p_value_is_the_binomial_tail(lost: int, won: int) -> None:
    found = loss_p_value(measured(lost, first=won), measured(won))
    expected = binom.sf(lost - 1, lost + won, 0.5) if lost + won else 1.0
    assert found == pytest.approx(expected)


def test_other_data_cannot_be_paired() -> None:
    with pytest.raises(InputError, match="other data"):
        judge(measured(1), replace(measured(1), data_digest="d2"), 1.0, PromoteParams())


def test_evidence_survives_json() -> None:
    content = json.loads(json.dumps(measured(3).to_json()))
    assert evidences.parse(content, "here") == measured(3)
    for key in content:
        with pytest.raises(InputError, match=r"here: .*register again"):
            evidences.parse({k: v for k, v in content.items() if k != key}, "here")
    with pytest.raises(InputError, match="without predictions"):
        evidences.parse({**content, "predictions": []}, "here")


@pytest.fixture
def uri(project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(promotion, "_SETTLE_SECONDS", 0.05)
    monkeypatch.setattr("rolekd.registry.assessment._SECONDS", 0.0)
    return f"sqlite:///{project}/mlflow.db"


def register(project: Path, wrong: int | None) -> int:
    """Register a student that is wrong on so many images; None: without evidence."""
    path = linear_model(project / "student.onnx", seed=wrong or 0)
    with runs.start("register", experiment="rolekd-digits") as run:
        return versions.register(
            path,
            name=NAME,
            run_id=run.run_id(),
            example=np.zeros((1, 8, 8, 1), np.uint8),
            description=versions.Description(
                evidence=None if wrong is None else measured(wrong, files.sha256(path))
            ),
        ).number


def promote(uri: str, version: int | None = None, **options: object) -> promotion.Decision:
    data = Path("outputs/data")
    return promotion.promote(NAME, LIMITS, uri=uri, data=data, version=version, **options)  # type: ignore[arg-type]


def champion(uri: str) -> int:
    return int(MlflowClient(uri).get_model_version_by_alias(NAME, "champion").version)


def test_the_story_of_a_champion(project: Path, uri: str) -> None:
    register(project, 20)
    assert promote(uri, dry_run=True).moved is False
    assert promote(uri, why="the first").moved
    assert champion(uri) == 1
    register(project, 40)
    refused = promote(uri)
    assert {gate.name for gate in refused.refused} == {
        "accuracy against the champion",
        "paired test on the same images",
    }
    assert champion(uri) == 1
    register(project, 10)
    assert promote(uri, why="fewer mistakes").previous == 1
    assert champion(uri) == 3
    tags = MlflowClient(uri).get_model_version(NAME, "3").tags
    assert (tags["promotion.from"], tags["promotion.why"]) == ("1", "fewer mistakes")
    assert tags["promotion.by"]
    assert tags["promotion.at"]
    assert len(json.loads(tags["promotion.gates"])) == 8
    assert promotion.rollback(NAME, uri=uri, why="users complain") == (3, 1)
    assert champion(uri) == 1
    tags = MlflowClient(uri).get_model_version(NAME, "3").tags
    assert (tags["rollback.to"], tags["rollback.why"]) == ("1", "users complain")
    with pytest.raises(InputError, match="first champion"):
        promotion.rollback(NAME, uri=uri)


def test_refusals_that_are_not_gate(project: Path, uri: str) -> None:
    register(project, None)
    with pytest.raises(InputError, match="version 1 has no evidence"):
        promote(uri)
    with pytest.raises(InputError, match=r"has no version 7; `rolekd models --registry` shows"):
        promote(uri, 7)
    with pytest.raises(InputError, match="no champion"):
        promotion.rollback(NAME, uri=uri)
    register(project, 10)
    promote(uri)
    with pytest.raises(InputError, match="already the champion"):
        promote(uri)


def test_nothing_is_registered(project: Path, uri: str) -> None:
    with pytest.raises(InputError, match="has no challenger"):
        promote(uri)
    with pytest.raises(InputError, match="has no champion; promote a version first"):
        promotion.rollback(NAME, uri=uri)


def test_evidence_of_another_file_is_refused(project: Path, uri: str) -> None:
    path = linear_model(project / "student.onnx")
    with runs.start("register", experiment="rolekd-digits") as run:
        versions.register(
            path,
            name=NAME,
            run_id=run.run_id(),
            example=np.zeros((1, 8, 8, 1), np.uint8),
            description=versions.Description(evidence=measured(1, "0" * 64)),
        )
    with pytest.raises(InputError, match="another file"):
        promote(uri)


def test_two_promotions_at_once(project: Path, uri: str) -> None:
    for wrong in (20, 10, 9):
        register(project, wrong)
    promote(uri, 1)
    barrier = threading.Barrier(2)
    outcomes: dict[int, str] = {}

    def attempt(version: int) -> None:
        barrier.wait()
        try:
            promote(uri, version)
            outcomes[version] = "won"
        except RunError as error:
            outcomes[version] = str(error)

    threads = [threading.Thread(target=attempt, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [version for version, outcome in outcomes.items() if outcome == "won"]
    assert winners == [champion(uri)]
    (told,) = (outcome for outcome in outcomes.values() if outcome != "won")
    assert "another promotion" in told or "the champion became version" in told


def test_champion_that_moved_meanwhile(
    project: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (20, 10, 9):
        register(project, wrong)
    promote(uri, 1)
    real = promotion.assess

    def slow(*arguments: object) -> list[Gate]:
        MlflowClient(uri).set_registered_model_alias(NAME, "champion", "3")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(promotion, "assess", slow)
    with pytest.raises(RunError, match="became version 3 while version 2 was judged"):
        promote(uri, 2)
    assert champion(uri) == 3


def test_lock_of_a_dead_promotion_is_overrun(project: Path, uri: str) -> None:
    register(project, 10)
    client = MlflowClient(uri)
    client.set_registered_model_tag(NAME, "promotion.lock", "dead 1000")
    assert promote(uri).moved
    assert "promotion.lock" not in client.get_registered_model(NAME).tags


@pytest.mark.parametrize("token", ["dead 99999999999", "dead", "", "dead nan", "a b c", "dead x"])
def test_lock_that_tells_no_age_is_watched_and_overrun(
    project: Path, uri: str, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setattr(promotion, "_LOCK_SECONDS", 0.3)
    monkeypatch.setattr(promotion, "_LOOK_SECONDS", 0.05)
    client = MlflowClient(uri)
    client.create_registered_model(NAME)
    client.set_registered_model_tag(NAME, "promotion.lock", token)
    with promotion._locked(client, NAME) as confirm:
        confirm()
    assert "promotion.lock" not in client.get_registered_model(NAME).tags


def test_lock_of_a_clock_ahead_that_is_alive_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "_LOCK_SECONDS", 60.0)
    monkeypatch.setattr(promotion, "_LOOK_SECONDS", 0.0)
    tokens = iter(["one 99999999999", "one 99999999999", "two 99999999999", "two 99999999999"])
    assert promotion._is_kept(lambda: next(tokens))
    released = iter(["one 99999999999", "one 99999999999", None, None])
    assert not promotion._is_kept(lambda: next(released))


@pytest.mark.parametrize(("seconds", "kept"), [(0, True), (-50, True), (-70, False), (50, True)])
def test_lock_whose_age_is_told(seconds: int, kept: bool) -> None:
    assert promotion._is_kept(lambda: f"x {time.time() + seconds:.0f}") is kept


def test_a_lock_that_was_taken_over_moves_nothing_and_is_left_to_its_holder(
    project: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(project, 10)
    client = MlflowClient(uri)
    real = promotion._champion

    def late(*arguments: object) -> object:
        if "promotion.lock" in client.get_registered_model(NAME).tags:
            client.set_registered_model_tag(NAME, "promotion.lock", "another 9999999999")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(promotion, "_champion", late)
    with pytest.raises(RunError, match="another promotion"):
        promote(uri)
    assert "champion" not in client.get_registered_model(NAME).aliases
    assert client.get_registered_model(NAME).tags["promotion.lock"] == "another 9999999999"


def test_commands(project: Path, uri: str) -> None:
    register(project, 20)
    runner = CliRunner()
    told = runner.invoke(commands.promote, ["--dry-run"], catch_exceptions=False)
    assert "would be promoted" in told.output
    told = runner.invoke(commands.promote, ["--json"], catch_exceptions=False)
    assert json.loads(told.output)["moved"] is True
    register(project, 60)
    told = runner.invoke(commands.promote, [])
    assert told.exit_code == 1
    assert "refused by" in told.output
    told = runner.invoke(commands.rollback, [])
    assert isinstance(told.exception, RolekdError)
    assert "first champion" in str(told.exception)


def test_of_two_first_writers_of_the_lock_one_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.exceptions import MlflowException

    tags: dict[str, str] = {}

    class Client:
        def get_registered_model(self, _: str) -> SimpleNamespace:
            return SimpleNamespace(tags=tags)

        def set_registered_model_tag(self, _: str, key: str, __: str) -> None:
            tags[key] = f"another's {time.time():.0f}"
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed")

    with pytest.raises(RunError, match="another promotion"), promotion._locked(Client(), "m"):
        pass
    tags.clear()
    monkeypatch.setattr(Client, "set_registered_model_tag", _fails)
    with pytest.raises(MlflowException, match="the store"), promotion._locked(Client(), "m"):
        pass


def _fails(*_: object) -> None:
    from mlflow.exceptions import MlflowException

    raise MlflowException("the store is full")
