"""The final of a search as the page tells it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rolekd import files
from rolekd.augment import ladder
from rolekd.errors import InputError
from rolekd.report import finals
from rolekd.report.style import inline_svg


def _rows(gains, rungs=((0, 2), (1, 4))):
    rows, before = [], 0
    for rung, seeds in rungs:
        rows += [
            {
                "rung": rung,
                "candidate": name,
                "ladder": name if ladder.is_rung(name) else None,
                "seed": seed,
                "accuracy": 0.6 + 0.01 * seed + gain + 0.002 * (-1) ** seed * (name != "none"),
            }
            for seed in range(before, seeds)
            for name, (gain, last) in gains.items()
            if rung <= last
        ]
        before = seeds
    return rows


GAINS = {
    "none": (0.0, 1),
    "all-2": (0.03, 1),
    "all-5": (0.01, 0),
    "geometry-2": (-0.02, 0),
    "pbt-1": (-0.01, 0),
}


@pytest.fixture
def final(tmp_path: Path) -> finals.Final:
    files.write_csv(tmp_path / "final.csv", _rows(GAINS))
    found = finals.read(tmp_path / "final.csv", "all-2", "accuracy")
    assert found is not None
    return found


def test_the_table_has_a_row_for_each_candidate(final: finals.Final) -> None:
    rows = finals.final_rows(final)
    assert [row["candidate"] for row in rows] == ["all-2", "none", "all-5", "pbt-1", "geometry-2"]
    assert [row["seeds"] for row in rows] == ["4", "4", "2", "2", "2"]
    assert rows[0]["points better than none"] == "+3.00 ± 0.12"
    assert rows[0]["95 % interval"] == "+2.63 … +3.37"
    assert [row["rung"] for row in rows] == ["2", "2", "1", "1", "1"]
    assert rows[0]["p"] == "0.125"  # the smallest of four pairs
    assert [row[""] for row in rows] == ["taken", "", "", "", ""]
    assert rows[1]["points better than none"] == rows[1]["95 % interval"] == ""


def test_it_is_said_who_won_and_how_surely(final: finals.Final) -> None:
    said = finals.sentence(final, "student")
    assert said == (
        "The student gets all-2: +3.00 ± 0.12 points better than none over 4 seeds, "
        "exact p = 0.125."
    )
    kept = replace(final, winner="none")
    assert finals.sentence(kept, "student").startswith(
        "The student gets no policy: the best candidate, all-2, is +3.00 ± 0.12 points better than "
        "none"
    )


def test_the_picture_names_families_and_other_schedules(final: finals.Final) -> None:
    drawn = inline_svg(finals.final_figure(final), "a final")
    for name in ("all", "geometry", "pbt-1", "taken", "points of accuracy better than none"):
        assert f">{name}<" in drawn
    points = [
        tuple(np.round(line.get_xydata()[:, 1], 6))
        for line in finals.final_figure(final).axes[0].lines
        if line.get_marker() == "o"
    ]
    assert (3.0, 1.0) in points  # of all-2 and all-5


def test_a_rung_under_another_name_keeps_its_place_in_the_picture(tmp_path: Path) -> None:
    rows = [
        row | ({"candidate": "teacher-schedule"} if row["candidate"] == "all-2" else {})
        for row in _rows(GAINS)
    ]
    files.write_csv(tmp_path / "final.csv", rows)
    found = finals.read(tmp_path / "final.csv", "teacher-schedule", "accuracy")
    assert found is not None
    drawn = finals.final_figure(found).axes[0]
    points = [tuple(np.round(line.get_xydata()[:, 1], 6)) for line in drawn.lines]
    assert (3.0, 1.0) in points  # one line through both rungs of the family
    assert {text.get_text() for text in drawn.texts} == {"teacher-schedule", "pbt-1"}
    assert finals.final_rows(found)[0]["candidate"] == "teacher-schedule (all-2)"
    assert finals.sentence(found, "student").startswith(
        "The student gets teacher-schedule (all-2): "
    )


def test_where_none_was_alone_it_is_said(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "final.csv", _rows({"none": (0.0, 1)}))
    found = finals.read(tmp_path / "final.csv", "none", "accuracy")
    assert found is not None
    assert finals.sentence(found, "teacher") == (
        "The teacher gets no policy: there is no candidate that changes images."
    )
    finals.final_figure(found)


def test_a_search_without_a_final_has_none(tmp_path: Path) -> None:
    assert finals.read(tmp_path / "missing.csv", None, "accuracy") is None


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "final.csv").write_text("rung,candidate\n1,none\n")
    with pytest.raises(InputError, match=r"final\.csv: not the final of a search"):
        finals.read(tmp_path / "final.csv", "none", "accuracy")


def test_predictors_are_compared_with_what_the_final_confirms(tmp_path: Path) -> None:
    rows = _rows(GAINS)
    for row in rows:
        gain = GAINS[row["candidate"]][0]
        # in the order of the gains, whatever the seed adds; the other against it
        row |= {"teacher_stddev": row["seed"] - gain, "teacher_only_right": 1 + gain**3}
    files.write_csv(tmp_path / "final.csv", rows)
    found = finals.read(tmp_path / "final.csv", "all-2", "accuracy")
    assert found is not None
    assert found.predictors["teacher_stddev"]["all-2"] == pytest.approx(-0.03)
    said = finals.agreements(found)
    # 5 candidates have 120 orders, of which one agrees wholly and one not at all
    assert said == [
        f"Over 5 candidates {what} and the confirmed accuracy have Spearman's rho {rho}, p = 0.017."
        for what, rho in (
            ("the teacher's standard deviation", "-1.00"),
            ("the share of images that only the teacher gets right", "+1.00"),
        )
    ]


def test_predictors_that_do_not_vary_say_nothing(tmp_path: Path) -> None:
    rows = [{**row, "teacher_only_right": 0.5} for row in _rows(GAINS)]
    files.write_csv(tmp_path / "final.csv", rows)
    found = finals.read(tmp_path / "final.csv", "all-2", "accuracy")
    assert found is not None
    assert finals.agreements(found) == []


def _of_log_loss(sign: int = 1) -> finals.Final:
    """A final in which log loss falls, or with sign -1 rises, with accuracy."""
    rows = [{**row, "log_loss": 1.0 - 2 * sign * row["accuracy"]} for row in _rows(GAINS)]
    return finals.of_rows(rows, "all-2", "log_loss")


def test_a_final_of_log_loss_says_both() -> None:
    found = _of_log_loss()
    assert finals.sentence(found, "student").startswith(
        "The student gets all-2: +0.060 ± 0.002 nats of log loss better than none over 4 seeds, "
        "in accuracy +3.00 points, exact p"
    )
    assert finals.final_rows(found)[0]["nats of log loss better than none"] == "+0.060 ± 0.002"


def test_the_picture_of_log_loss_shows_accuracy_too() -> None:
    found = _of_log_loss()
    drawn = finals.final_figure(found)
    assert [axes.get_ylabel() for axes in drawn.axes] == [
        "nats of log loss better than none",
        "points of accuracy better than none",
    ]
    for axes, gains in zip(drawn.axes, ((0.06, 0.02), (3.0, 1.0)), strict=True):
        assert gains in [tuple(np.round(line.get_xydata()[:, 1], 6)) for line in axes.lines]
    assert finals.caption(found, "student") == (
        "Final of the student, decided by log loss: nats of log loss and points of accuracy better "
        "than none, over strength, with standard errors"
    )


def test_predictors_are_ranked_against_accuracy_whatever_decides() -> None:
    def said(sign: int) -> list[str]:
        found = _of_log_loss(sign)
        order = {one.name: one.gain for one in found.by_accuracy}
        return finals.agreements(replace(found, predictors={"teacher_stddev": order}))

    assert said(1) == said(-1)
    assert "Spearman's rho +1.00" in said(1)[0]


def test_a_teacher_judged_by_its_student_is_told_so_with_its_own_accuracy() -> None:
    rows = [{**row, "teacher_accuracy": 0.9 + 0.01 * row["seed"]} for row in _rows(GAINS)]
    rows[-1]["teacher_accuracy"] = ""  # its loss became NaN
    found = finals.of_rows(rows, "all-2", "accuracy")
    said = finals.sentence(found, "teacher")
    assert said.startswith("The teacher (judged by its student) gets all-2: +3.00")
    assert finals.caption(found, "teacher").startswith(
        "Final of the teacher (judged by its student), "
    )
    shown = {row["candidate"]: row for row in finals.final_rows(found)}
    assert shown["none"]["student's accuracy %"] == "61.50 ± 1.29"
    assert shown["none"]["teacher's accuracy %"] == "91.50 ± 1.29"
    assert shown["all-2"]["teacher's accuracy %"] == "91.00 ± 1.00"
    assert "accuracy %" not in shown["none"]


def test_who_judges_is_not_said_where_it_is_the_role_itself(final: finals.Final) -> None:
    assert "judged" not in finals.sentence(final, "teacher") + finals.caption(final, "teacher")
    assert "teacher's accuracy %" not in finals.final_rows(final)[0]
