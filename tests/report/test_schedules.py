"""Figures of schedules and sheets of samples: what they show, not how they look."""

import numpy as np

from rolekd.augment.engine import Engine
from rolekd.augment.handmade import Adaptive, RandAugment
from rolekd.augment.policy import LENGTH, OPERATIONS, Policy
from rolekd.augment.schedule import Schedule
from rolekd.report.schedules import schedule_figure
from rolekd.report.sheets import policy_sheet


def test_stacks_add_up_to_the_probabilities():
    policy = Policy([5, 3] * (LENGTH // 2))
    schedule = Schedule(10, [(0, Policy.zeros()), (4, policy)])
    figure = schedule_figure({"teacher": schedule, "student": schedule.stretch(20)})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["teacher", "student", "", ""]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == list(OPERATIONS)[::-1]
    for axes, height, end in zip(figure.axes, (15, 15, 45, 45), (10, 20, 10, 20), strict=True):
        top = axes.collections[-1].get_paths()[0].vertices
        assert np.isclose(top[:, 1].max(), height)
        assert top[np.isclose(top[:, 1], height), 0].min() == end * 0.4
        assert axes.get_xlim() == (0, end)


def test_an_empty_schedule_can_be_drawn():
    assert schedule_figure({"x": Schedule(3, [(0, Policy.zeros())])}).axes[0].get_ylim()[1] > 0


def test_a_sheet_shows_every_image_under_every_policy():
    images = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8, 1)
    engine = Engine((9,), crop_padding=1)
    figure = policy_sheet(images, {"base": None, "rand": RandAugment()}, engine, 4)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert len(shown) == 9
    np.testing.assert_array_equal(shown[0], images[0, :, :, 0])
    np.testing.assert_array_equal(shown[3], engine.apply(images, None, 4)[0, :, :, 0])
    assert figure.axes[6].get_ylabel() == "rand"


def test_a_sheet_shows_levels_from_the_weakest_to_the_strongest():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    engine = Engine((9,), crop_padding=1)
    figure = policy_sheet(images, {"adaptive": Adaptive()}, engine, 4)
    for column, magnitude in enumerate((0, 15, 30)):
        expected = engine.apply(images, RandAugment(2, magnitude), 4)[column, :, :, 0]
        np.testing.assert_array_equal(figure.axes[3 + column].images[0].get_array(), expected)
