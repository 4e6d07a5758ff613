import pytest

from rolekd.augment import named
from rolekd.augment.handmade import Adaptive, TrivialAugment
from rolekd.augment.named import NamedAugmentation
from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError

SCHEDULE = Schedule(4, [(0, Policy.zeros()), (2, Policy([1] * 60))])


@pytest.fixture
def project(tmp_path):
    (tmp_path / "schedules").mkdir()
    SCHEDULE.save(tmp_path / "schedules/mine.json")
    return tmp_path


@pytest.mark.parametrize(
    "name", [*named.HANDMADE, *named.SEARCHED_SCHEDULES, "schedules/mine.json"]
)
def test_every_name_resolves_and_survives_the_disk(project, name):
    found = named.resolve(name, lambda _: project / "schedules/mine.json", project)
    found.save(project / "arm.json")
    assert named.load(project / "arm.json") == found
    assert (found.schedule is None) == (name in named.HANDMADE)
    assert named.describe(name)


def test_a_schedule_is_stretched_over_the_training():
    over = NamedAugmentation("schedules/mine.json", SCHEDULE).over(8)
    assert [over(epoch) == Policy.zeros() for epoch in range(8)] == [True] * 4 + [False] * 4
    assert NamedAugmentation("trivialaugment").over(8)(7) == TrivialAugment(scaled=True)
    assert NamedAugmentation("none").over(8)(0) is None
    assert NamedAugmentation("adaptive").over(8)(0) == Adaptive()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("randaugmnt", "'randaugmnt' is not an augmentation; did you mean randaugment"),
        ("adaptve", "'adaptve' is not an augmentation; did you mean adaptive"),
        ("mine.json", r"put the file into schedules/ and name it schedules/mine\.json"),
        ("../mine.json", "put the file into schedules/"),
        ("schedules/other.json", r"schedules/other\.json: no such file"),
    ],
)
def test_what_does_not_exist_is_told(project, name, message):
    with pytest.raises(InputError, match=message):
        named.check(name, project)


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "x", "schedule": null}', "{"])
def test_a_damaged_file_is_told(tmp_path, text):
    path = tmp_path / "arm.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"arm\.json: "):
        named.load(path)
