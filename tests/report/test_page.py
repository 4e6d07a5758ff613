import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from comparisons import comparing
from matplotlib.figure import Figure

from rolekd.augment.policy import Policy
from rolekd.augment.schedule import Schedule
from rolekd.errors import InputError
from rolekd.outputs import Lineage
from rolekd.report import costs, finals, findings, genealogy, histories, page, plots, style, tables

CLASSES = ("cat <b>", "dog & co", "fish")
IMAGES = 80
LABELS = np.random.default_rng(0).integers(0, 3, IMAGES)


def evaluation(**wrong: list[int]) -> tables.Evaluation:
    """An evaluation in which seed i of an arm is wrong on the first wrong[arm][i] images."""
    logits = {}
    for arm, counts in wrong.items():
        one_hot = np.eye(3)[LABELS]
        array = np.stack([one_hot.copy() for _ in counts])
        for seed, count in enumerate(counts):
            array[seed, :count] = np.roll(one_hot[:count], 1, axis=1)
        logits[arm.replace("_", "-")] = 4 * array
    return tables.summarise(logits, LABELS, CLASSES, comparing(logits))


def search_rows() -> list[histories.SearchRow]:
    return [
        histories.SearchRow(0, 0, None, 3, 0.5, in_lineage=True),
        histories.SearchRow(0, 1, None, 3, None, in_lineage=False),
        histories.SearchRow(1, 0, 0, 6, 0.7, in_lineage=True),
        histories.SearchRow(1, 1, 0, 6, 0.6, in_lineage=False),
    ]


CURVES = [
    {"seed": str(seed), "epoch": str(epoch), "cross_entropy": "1.5", "accuracy": "0.5"}
    for seed in range(2)
    for epoch in range(3)
]


def make_content() -> page.PageContent:
    images = np.zeros((IMAGES, 8, 8, 1), np.uint8)
    arms = evaluation(kd=[8, 9, 11], kd_shared=[5, 7, 8], kd_rolewise=[1, 2, 2])
    return page.PageContent(
        dataset="digits <script>",
        evaluation=arms,
        schedules={"teacher": Schedule(6, [(0, Policy([0] * 60)), (3, Policy([5] * 60))])},
        searches={"teacher": search_rows(), "student": search_rows()},
        curves={"teacher": CURVES, "kd": CURVES},
        mistakes=plots.mistakes_figure(images, LABELS, -np.eye(3)[LABELS], CLASSES),
        model={"size": "1 kB"},
        provenance={"Code": {"git commit": "abc"}},
        params={"student": {"bits": 2}, "terms": {}},
    )


@pytest.fixture
def content() -> page.PageContent:
    return make_content()


class Reader(HTMLParser):
    """Collects what a browser would fetch, and checks that tags close."""

    void = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        self._look(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value:
                (self.links if tag == "a" else self.fetched).append(value)


def test_page_is_whole_and_fetches_nothing(content: page.PageContent) -> None:
    text = page.build(content)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert all(value.startswith(("#", "data:")) for value in reader.fetched)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert "<script" not in text  # and the name of the data set is escaped
    assert "cat <b>" not in text
    for name in ("Schedules", "Searches", "Training", "Exported model", "Provenance"):
        assert f">{name}</h2>" in text


def final_rows(**more: float) -> list[dict[str, object]]:
    return [
        {
            "rung": 0,
            "candidate": name,
            "ladder": rung,
            "seed": seed,
            "accuracy": 0.5 + 0.01 * seed + gain,
            "log_loss": 1 - gain,
            **more,
        }
        for name, rung, gain in (("none", None, 0.0), ("all-2", "all-2", 0.1))
        for seed in range(2)
    ]


@pytest.mark.parametrize("measure", ["accuracy", "log_loss"])
def test_pictures_of_finals_say_what_they_show(content: page.PageContent, measure: str) -> None:
    final = finals.of_rows(final_rows(), "all-2", measure)
    told = finals.caption(final, "student")
    text = page.build(replace(content, finals={"student": final}))
    assert f"<figcaption>{told}</figcaption>" in text
    assert f'aria-label="{told}"' in text
    assert "points above none" not in text
    assert "judged by its student" not in text


def test_a_final_says_what_its_evidence_is_not_adjusted_for(content: page.PageContent) -> None:
    warning = "not adjusted for the choice of the best"
    assert warning not in page.build(content)
    final = finals.of_rows(final_rows(), "all-2", "log_loss")
    text = page.build(replace(content, finals={"student": final}))
    assert warning in text
    assert text.index("The student gets all-2") < text.index(warning)


def test_a_teacher_judged_by_its_student_is_shown_as_that(content: page.PageContent) -> None:
    final = finals.of_rows(final_rows(teacher_accuracy=0.9), "all-2", "log_loss")
    text = page.build(replace(content, finals={"teacher": final}))
    assert "<summary>Candidates of the teacher (judged by its student)</summary>" in text
    assert "The teacher (judged by its student) gets all-2" in text
    assert "The teacher is judged by its student: a student without a policy" in text
    assert "<th>student&#39;s accuracy %</th><th>teacher&#39;s accuracy %</th>" in text


def test_every_reference_inside_a_figure_is_met(content: page.PageContent) -> None:
    for name, svg in page.figures(content).items():
        root = ElementTree.fromstring(str(svg))
        ids = {element.get("id") for element in root.iter()}
        used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg))
        assert used <= ids, name


def test_page_without_the_optional_parts() -> None:
    text = page.build(page.PageContent("digits", evaluation(kd_rolewise=[1])))
    assert "Searches" not in text
    assert "One seed only" in text


def test_page_is_the_same_every_time() -> None:
    assert page.build(make_content()) == page.build(make_content())


@pytest.mark.parametrize(
    ("shared", "rolewise", "expected"),
    [
        ([8, 9, 11], [1, 2, 2], "beat the teacher's by"),
        ([1, 2, 2], [8, 9, 11], "lost to the teacher's by"),
        ([1, 9, 2], [3, 2, 8], "cannot distinguish the student's own schedule from the teacher's"),
        ([2], [1], "cannot distinguish the student's own schedule from the teacher's"),
        ([1], [1], "gave the same accuracy"),
    ],
)
def test_headline_says_what_the_numbers_say(
    shared: list[int], rolewise: list[int], expected: str
) -> None:
    arms = evaluation(kd_shared=[*shared, *shared], kd_rolewise=[*rolewise, *rolewise])
    assert expected in findings.headline(arms)


def test_headline_counts_from_the_students_side() -> None:
    arms = evaluation(kd_shared=[9, 10, 12] * 2, kd_rolewise=[1, 2, 3] * 2)
    gap = arms.arm("kd-shared").difference
    assert gap is not None
    assert gap.low is not None
    assert f"by {-100 * gap.mean:.1f} points" in findings.headline(arms)
    assert f"to {-100 * gap.low:+.1f}, p = 0.031)" in findings.headline(arms)


def test_remarks_sort_the_arms() -> None:
    wrong = {"plain": [20, 21, 23], "kd": [2, 1, 3], "kd_shared": [2, 1, 3], "kd_rolewise": [2] * 3}
    few = " ".join(findings.remarks(evaluation(**wrong)))
    assert "Clearly" not in few
    assert "adjusted (Holm) for 3 comparisons; with so few seeds it cannot fall below 0.75" in few
    arms = evaluation(**{name: counts * 3 for name, counts in wrong.items()})
    text = " ".join(findings.remarks(arms))
    assert "Clearly below the baseline: the same student without a teacher." in text
    assert "Not distinguishable from the baseline" in text
    assert "with so few seeds" not in text
    assert "gave the same predictions" in text
    assert "One test image more or less is 1.25 points." in text


def test_idle_schedule_is_said_to_be_idle() -> None:
    quiet = {"teacher": Schedule(6, [(0, Policy([0, 9] * 30))])}
    text = page.build(page.PageContent("digits", evaluation(kd_rolewise=[1]), schedules=quiet))
    assert "teacher's schedule has probability 0 throughout" in text
    assert "Probabilities and magnitudes by epoch" not in text  # no empty panel
    both = {**quiet, "student": Schedule(6, [(0, Policy([5] * 60))])}
    drawn = page.figures(page.PageContent("digits", evaluation(kd_rolewise=[1]), schedules=both))
    assert ">student</text>" in drawn["schedules"]
    assert ">teacher</text>" not in drawn["schedules"]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"kd": [3, 1, 2], "kd_rolewise": [1, 3, 2]}, "No clear winner: 2 students within 0.0 poi"),
        ({"kd_rolewise": [8]}, "One student, 90.0 % right, 1 seed."),
        (
            {"kd": [8], "kd_rolewise": [0]},
            "No clear winner: 2 students within 10.0 points, 1 seed.",
        ),
        (
            {"kd": [20, 21, 22, 21, 20, 22, 23, 21], "kd_rolewise": [1, 2, 1, 2, 1, 2, 1, 2]},
            "wins: 98.1 %, 24.7 points above the last of 2, 8 seeds.",
        ),
    ],
)
def test_the_first_sentence_is_plain(wrong: dict[str, list[int]], expected: str) -> None:
    found = evaluation(**wrong)
    assert expected in findings.plainly(found)
    text = page.build(page.PageContent("digits", found))
    assert text.index(findings.plainly(found)[:12]) < text.index("test images")


def test_a_student_slower_than_its_teacher_is_explained() -> None:
    networks = [costs.Cost("teacher, float32", 0.97, 400, 0.03), costs.Cost("it", 0.96, 40, 0.05)]
    (said,) = costs.surprises(networks, (8, 8))
    assert said.startswith("It is smaller than the teacher, yet slower: 0.050 against 0.030 ms. ")
    assert "At 8x8 pixels" in said
    assert "At 224x224" not in costs.surprises(networks, (224, 224))[0]
    assert costs.surprises(networks[::-1], (8, 8)) == []


def test_date_and_links_stand_above_the_statistics() -> None:
    links = {"Runs in MLflow": "http://127.0.0.1:5000/#/experiments", "odd": "javascript:x"}
    found = page.PageContent("d", evaluation(kd_rolewise=[1]), written="2026-11-26", links=links)
    text = page.build(found)
    assert "Written 2026-11-26." in text
    assert '<a href="http://127.0.0.1:5000/#/experiments">Runs in MLflow</a>' in text
    assert 'href="javascript' not in text


def test_figures_take_the_colour_of_the_page(content: page.PageContent) -> None:
    for name, svg in page.figures(content).items():
        assert style.INK not in svg, name
        assert "currentColor" in svg, name
        assert style.PAPER not in svg, name
    # hollow where the difference is not clear, on a dark card, too
    unclear = page.figures(page.PageContent("digits", evaluation(kd_rolewise=[1, 2], plain=[2, 1])))
    assert any("fill: var(--card)" in svg for svg in unclear.values())


def test_mistakes_are_the_surest_first() -> None:
    logits = 4.0 * np.eye(3)[LABELS]
    logits[5] = 9.0 * np.roll(np.eye(3)[LABELS[5]], 1)
    logits[7] = 6.0 * np.roll(np.eye(3)[LABELS[7]], 1)
    images = np.zeros((IMAGES, 8, 8, 3), np.uint8)
    figure = plots.mistakes_figure(images, LABELS, logits, CLASSES)
    assert figure is not None
    titles = [cell.get_title(loc="left") for cell in figure.axes]
    assert [f"is {CLASSES[LABELS[i]]}" in titles[n] for n, i in enumerate((5, 7))] == [True, True]
    assert len(titles) == 2
    right = plots.mistakes_figure(images, LABELS, np.eye(3)[LABELS], CLASSES)
    assert right is None


def test_search_figure_joins_members_to_their_parents() -> None:
    axes = histories.search_figure(search_rows()).axes[0]
    lines = {tuple(line.get_ydata()): line.get_linewidth() for line in axes.get_lines()}
    assert set(lines) == {(50.0, 70.0), (50.0, 60.0)}
    assert lines[50.0, 70.0] > lines[50.0, 60.0]


@pytest.fixture
def bare() -> page.PageContent:
    return page.PageContent("digits", evaluation(kd_rolewise=[1]))


def test_predictor_is_shown_where_it_was_measured(bare: page.PageContent) -> None:
    assert "Does the teacher alone tell" not in page.build(
        replace(bare, searches={"a": search_rows()})
    )
    generator = np.random.default_rng(0)
    measured = [
        histories.SearchRow(0, member, None, 3, generator.random(), False, generator.random())
        for member in range(9)
    ]
    shown = replace(bare, searches={"student": measured})
    assert "predictor" in page.figures(shown)
    assert "9 trainings in 1 generations" in page.build(shown)


QUALITY = {
    "images": 1234,
    "classes": {"cat <b>": {"train": 7, "test": 3}},
    "warnings": ["3 groups of equal images have different labels"],
}


def test_data_genealogy_and_costs(bare: page.PageContent) -> None:
    line = [genealogy.Ancestor(0, 3, "fresh", "51.2", 4, "Rotate 0.3×5")]
    networks = [costs.Cost("teacher", 0.98, 300_000, 0.5), costs.Cost("old", 0.8, 9_000, None)]
    text = page.build(
        replace(
            bare,
            quality=QUALITY,
            searches={"student": search_rows()},
            genealogies={"student": line},
            costs=networks,
        )
    )
    for expected in ("different labels", "<td>7</td>", "Rotate 0.3×5", "293.0", "0.500", "—"):
        assert expected in text
    assert "cat <b>" not in text
    assert "no copies" in page.build(replace(bare, quality={**QUALITY, "warnings": []}))


def test_front_holds_whom_nobody_beats_in_both() -> None:
    made = [
        costs.Cost("large", 0.98, 300, 3.0),
        costs.Cost("small", 0.90, 40, 1.0),
        costs.Cost("beaten", 0.89, 50, 0.5),
        costs.Cost("unmeasured", 0.99, 400, None),
    ]
    assert [one.name for one in costs.front(made, "bytes")] == ["small", "large", "unmeasured"]
    assert [one.name for one in costs.front(made, "milliseconds")] == ["beaten", "small", "large"]


def test_genealogy_is_read_in_words(tmp_path: Path) -> None:
    first, second = [0] * 60, [0] * 60
    second[0:2] = second[30:32] = [4, 7]  # Rotate, in both copies
    second[10:12] = [10, 3]  # Invert
    cost = {"first_epoch": 0, "epochs": 1, "images_seen": 10, "teacher_stddev": 0.1}
    rows = [
        {"generation": 0, "member": 2, "parent": None, "accuracy": 0.5, "policy": first, **cost},
        {"generation": 1, "member": 2, "parent": 2, "accuracy": None, "policy": first, **cost},
        {"generation": 2, "member": 5, "parent": 2, "accuracy": 0.75, "policy": second, **cost},
    ]
    path = tmp_path / "lineage.json"
    path.write_text(json.dumps(rows))
    assert genealogy.describe_line(Lineage.load(path)) == [
        genealogy.Ancestor(0, 2, "fresh", "50.0", 0, "nothing"),
        genealogy.Ancestor(1, 2, "itself", "—", 0, "nothing"),
        genealogy.Ancestor(
            2, 5, "copy of member 2", "75.0", 6, "Invert 1.0×3, Rotate 0.4×7, Rotate 0.4×7"
        ),
    ]
    path.write_text("[{}]")
    with pytest.raises(InputError, match=r"lineage\.json: 0\.generation: field required"):
        Lineage.load(path)


def test_search_history_is_read(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(
        "generation,member,parent,first_epoch,epochs,accuracy,images_seen,in_lineage\n"
        "0,0,,0,3,0.5,10,True\n0,1,,0,3,,10,False\n1,0,0,3,3,0.7,10,True\n1,1,0,3,3,0.6,10,False\n"
    )
    assert histories.read_search(path) == search_rows()
    head, *rows = path.read_text().splitlines()
    lines = [f"{head},teacher_stddev", *(f"{row}," for row in rows[:-1]), f"{rows[-1]},0.25"]
    path.write_text("\n".join(lines))
    assert [slot.teacher_stddev for slot in histories.read_search(path)] == [None] * 3 + [0.25]
    path.write_text("generation\n1\n")
    with pytest.raises(InputError, match=r"history\.csv: not the history of a search"):
        histories.read_search(path)
    with pytest.raises(InputError, match="run the stage that writes it"):
        histories.read_search(tmp_path / "none.csv")


@pytest.mark.timeout(20)
def test_what_is_not_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "epochs.csv"
    path.write_bytes(b"arm,epoch\n\xff,0\n")
    with pytest.raises(InputError, match=r"epochs\.csv: not a table"):
        histories.read_rows(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"epochs\.csv: cannot be read \(is a pipe"):
        histories.read_rows(path)


@pytest.fixture
def figure() -> Iterator[Figure]:
    with style.style():
        made = Figure()
        made.subplots().set_title("title")
    yield made


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_saved_figures_are_the_same_every_time(figure: Figure, tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        style.save(figure, tmp_path / f"{name}.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    assert data == (tmp_path / f"b.{suffix}").read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_the_share_of_changed_levels_is_drawn_where_a_training_has_it() -> None:
    rows = [{**row, "levels_changed": "0.25"} for row in CURVES]
    content = make_content()
    without = page.figures(content)
    assert "levels changed" not in without
    found = page.figures(replace(content, curves={"teacher": CURVES, "kd": rows, "none": []}))
    assert "weights on another level (%)" in found["levels changed"]
    assert "teacher" not in found["levels changed"]
    assert "another level" in page.build(replace(content, curves={"kd": rows}))


def test_a_student_that_collapsed_to_one_class_is_shown_as_that() -> None:
    logits = np.stack([np.eye(3)[LABELS]] * 3)
    one_class = logits.copy()
    one_class[[0, 2]] = np.eye(3)[1]
    names = ("kd-rolewise", "kd", "plain")
    arms = (one_class, logits, one_class[[0, 1, 1]])
    compare = comparing(names)
    found = tables.summarise(dict(zip(names, arms, strict=True)), LABELS, CLASSES, compare)
    assert [arm.collapsed for arm in found.arms] == [(0, 2), (), (0,)]
    lines = findings.collapses(found)
    assert len(lines) == 2
    assert lines[0].startswith(
        "Role-wise augmentation: collapsed to one class with seeds 0 and 2, 2 of 3; lower student"
    )
    assert "with seed 0, 1 of 3; lower" in lines[1]
    assert set(lines) < set(findings.remarks(found))
    assert lines[0] in page.build(replace(make_content(), evaluation=found))
    # where all test images are of one class, that is the right answer
    assert tables.collapsed(one_class, np.ones(IMAGES, int)) == ()


def test_failures_stand_first_and_once() -> None:
    line = "Teacher: 10 %, <chance>; raise teacher.training.epochs."
    text = page.build(replace(make_content(), failures=[line]))
    assert text.index("Failures") < text.index("One test image more or less")
    assert text.count("10 %, &lt;chance&gt;") == 1
    assert 'class="failures"' not in page.build(make_content())


@pytest.mark.parametrize(("shared", "rolewise", "word"), [(2, 1, "more"), (1, 2, "less")])
def test_headline_of_one_seed_cannot_say_whether_it_is_chance(shared, rolewise, word) -> None:
    arms = evaluation(kd_shared=[shared], kd_rolewise=[rolewise])
    assert f"gave {word} accuracy than the teacher's" in findings.headline(arms)
