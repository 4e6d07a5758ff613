"""Arms as rows of params.yaml: one more, one less, none that asks for a search, and bad ones."""

import json

import pytest
import yaml
from projects import Project, copied

from rolekd import files

pytestmark = pytest.mark.timeout(600)

PLAIN = {"distilled": False, "augmentation": "none", "teacher": "plain", "starts_from": "scratch"}
HEAVY = "{distilled: true, augmentation: randaugment, teacher: searched, starts_from: scratch}"


def _stages(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def _arms(project: Project) -> list[str]:
    found = json.loads((project.folder / "outputs/evaluate/arms.json").read_text())
    return [row["arm"] for row in found["arms"]]


def _version(project: Project) -> int:
    return json.loads((project.folder / "outputs/register/version.json").read_text())["version"]


def test_an_arm_more_trains_that_arm_alone_and_an_arm_less_trains_nothing(project, tmp_path):
    own = copied(project, tmp_path)
    kept, before = (own.folder / "params.yaml").read_text(), _arms(own)
    settings = (f"+compare.arms.heavy={HEAVY}", "~compare.arms.kd-trivialaugment")
    words = (word for setting in settings for word in ("-S", setting))
    output = own.run("dvc", "exp", "run", *words, "evaluate")
    assert _stages(output) == {"plan", "augmentations", "distill@heavy", "evaluate"}
    assert _arms(own) == [name for name in before if name != "kd-trivialaugment"] + ["heavy"]
    # the students of an arm that is gone stay in the folder that the comparison reads
    (own.folder / "params.yaml").write_text(kept)
    output = own.run("dvc", "repro", "evaluate")
    assert {line for line in output.splitlines() if line.startswith("> ")} == {
        "> python -m pipelines.evaluate"
    }
    assert _arms(own) == before


def test_without_an_arm_that_asks_for_it_nothing_is_searched(project, tmp_path):
    own = copied(project, tmp_path)
    values = yaml.safe_load((own.folder / "params.yaml").read_text())
    values["compare"] |= {"baseline": "only", "export": "only", "arms": {"only": PLAIN}, "seeds": 1}
    (own.folder / "params.yaml").write_text(yaml.safe_dump(values))
    before = _version(own)
    studies = (own.folder / ".rolekd/optuna.db").read_bytes()
    output = own.run("dvc", "repro")
    for stage in ("search_teacher", "search_student", "train_teacher@searched"):
        assert f"{stage}: no arm of params.yaml needs it; nothing to do" in output
    assert (own.folder / ".rolekd/optuna.db").read_bytes() == studies
    outputs = own.folder / "outputs"
    left = [*outputs.glob("search_*/schedule.json"), *outputs.glob("train_teacher/*/weights.*")]
    written = [path for path in left if path.read_bytes() != files.NOTHING.encode()]
    assert written == [outputs / "train_teacher/plain/weights.safetensors"]
    assert "is empty" not in output  # what DVC says of empty files
    assert _arms(own) == ["only"]
    assert (outputs / "report/index.html").exists()
    assert _version(own) > before


def _own(name: str = "own", **changes: object) -> dict:
    return {"compare": {"arms": {name: PLAIN | changes}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _own(augmentation="randaugmnt"),
            "'randaugmnt' is not an augmentation; did you mean",
        ),
        (_own(augmentation="schedules/x.json"), "augmentation: schedules/x.json: no such file"),
        (_own(augmentation="../x.json"), "augmentation: ../x.json: put the file into schedules/"),
        (
            _own(teacher="best"),
            "arms.own.teacher: input should be 'searched', 'plain', 'randaugment' or 'adaptive'",
        ),
        (_own("a/b"), "compare.arms.a/b: not a name of an arm"),
        (_own("../x"), "compare.arms.../x: not a name of an arm"),
        (
            {"compare": {"baseline": "kdd"}},
            "baseline 'kdd' is not an arm; name one of plain",
        ),
        ({"compare": {"export": "kdd"}}, "export 'kdd' is not an arm; name one of plain"),
        ({"compare": {"arms": None}}, "compare.arms: input should be a valid dictionary"),
    ],
)
def test_a_bad_arm_is_one_line_and_leaves_nothing(bare, change, message):
    _refuse(bare, change, message)


def test_no_arms_at_all_are_refused(bare):
    kept = (bare.folder / "params.yaml").read_text()
    bare.set(compare={"arms": None})
    bare.set(compare={"arms": {}})
    try:
        _refuse(bare, {}, "compare.arms: no arms; name at least one")
    finally:
        (bare.folder / "params.yaml").write_text(kept)


def test_an_old_file_is_told_key_by_key_what_replaced_it(bare):
    old = {
        "device": "cpu",
        "search": {"workers": 2},
        "distill": {"seeds": 3, "method": "ii", "terms": {}, "scale": 0.4},
    }
    output = _refuse(bare, old, "device: is machine.device now; change the file")
    for text in (
        "search.workers: is machine.workers now",
        "distill.seeds: is compare.seeds now",
        "distill.method: is distill.loss now",
        "distill.terms: is distill.loss now",
        "distill.scale: is distill.weight now",
    ):
        assert text in output


def _refuse(project: Project, change: dict, message: str) -> str:
    """See that the first stage refuses changed parameters."""
    output = project.run_with(change, "python", "-m", "pipelines.plan", code=2)
    assert output.startswith("error: params.yaml: ")
    assert output.count("\n") == 1
    assert message in output
    assert not (project.folder / "outputs").exists()
    return output
