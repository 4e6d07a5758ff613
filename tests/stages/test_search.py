"""What a search stage records of its final."""

import io

import pytest
from rich.console import Console

from rolekd.cli.progress import SearchProgress
from rolekd.errors import InputError
from rolekd.params import SearchParams, parse
from rolekd.search import final
from rolekd.search.history import Found
from rolekd.search.population import SearchResult
from rolekd.search.spec import SearchSpec
from rolekd.stages import checks, pace, search
from rolekd.stages.search import _metrics


def test_a_final_in_which_no_candidate_changes_images_is_recorded():
    settings = SearchParams.model_validate(
        {"algorithm": "pbt", "ladder": [], "epochs": 4, "confirm": {"rungs": [[3, 1], [2, 2]]}}
    )
    planned = final.plan(settings, final.candidates(settings, {}, []), [], 0, 4)
    rungs = [[SearchResult(task, 0, 0.5, 100, 0.0) for task in planned]]
    found = Found(settings, rungs, [], final.verdict(settings, rungs))
    metrics = _metrics(found)
    assert (metrics.winner, metrics.best, metrics.gain) == ("none", "none", 0.0)
    assert metrics.gain_error is None  # one seed has no spread
    text = io.StringIO()
    with SearchProgress("teacher", Console(file=text, width=120)) as progress:
        progress.started(SearchSpec(0, "teacher", "member", settings, {}, {}, {}, 4))
        progress.finished(found)
    assert text.getvalue().splitlines()[-1] == (
        "teacher: done, no candidate changes images, so none stays"
    )


def test_a_rung_that_does_nothing_is_refused():
    params = parse({"search": {"algorithm": "ladder", "ladder": ["all-0"]}}, "the test")
    with pytest.raises(InputError, match=r"search.ladder: all-0 does nothing, like none"):
        checks.check(params)


@pytest.mark.parametrize(("epochs", "told"), [(1, False), (500, True)])
def test_a_search_says_its_minutes_where_they_are_many(digits, monkeypatch, epochs, told):
    params = parse(
        {
            "machine": {"workers": 1},
            "search": {"algorithm": "ladder", "confirm": {"rungs": [[4, 2]]}},
            "teacher": {"training": {"epochs": epochs}},
        },
        "the test",
    )
    monkeypatch.setattr(pace, "known_or_measured", lambda works, *_: dict.fromkeys(works, 0.001))
    sentence = search._budget(params, "teacher", digits, {})
    images = 8 * epochs * 1004  # of 1,438: 70 % of each class, rounded
    assert sentence.startswith(f"at most {images:,} images to train on, {images:,} of the final.")
    assert ("About 1:06:56 here." in sentence) == told
