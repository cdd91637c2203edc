"""The committed house model and its card."""

import pytest

from house.__main__ import HOUSE_WEIGHTS
from house.card import describe, hash_of_prompts, read_card, table, with_marks
from house.exam.figures import Mark


@pytest.fixture(scope="module")
def card():
    return read_card(HOUSE_WEIGHTS)


def test_the_prompts_are_those_the_model_was_trained_on(card):
    assert card["prompts"] == hash_of_prompts(), "agent/prompts.py changed after the training"


def test_the_model_is_as_small_as_promised(card):
    assert card["parameters"] <= 16
    assert card["layers"] <= 8
    assert card["context"] == 2048
    assert sum(file.stat().st_size for file in HOUSE_WEIGHTS.iterdir()) <= 32e6


def test_the_readme_shows_the_marks_of_the_card(card):
    marks = {task: Mark(*counts) for task, counts in card["exam"].items()}
    assert describe(card, marks) == (HOUSE_WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert card["side"] == "final"


def test_a_mark_is_shown_with_its_interval_and_in_bold_where_it_is_short():
    # Wilson, 95 %, 9 of 10: 0.596 to 0.982.
    shown = "| own facts, direct | ≥ 0.97 | 9 | 10 | **0.900** (0.596–0.982) |"
    assert table({"own facts, direct": Mark(9, 10)}) == shown
    assert "| 0.000 (" in table({"bleed": Mark(0, 10)})
    assert "**0.300**" in table({"bleed": Mark(3, 10)})


@pytest.mark.parametrize(
    ("is_part", "seed", "others_stay"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_the_marks_of_a_part_stand_beside_those_held_in_the_same_way(is_part, seed, others_stay):
    card = {"exam_seed": 0, "exam": {"bleed": [1, 9], "stale": [2, 9]}}
    after, marks = with_marks(card, {"stale": Mark(0, 5)}, {"exam_seed": seed}, is_part=is_part)
    assert ("bleed" in marks) == others_stay
    assert after["exam"] == {name: [mark.hits, mark.asked] for name, mark in marks.items()}
    assert marks["stale"] == Mark(0, 5)
    assert after["exam_seed"] == seed
