"""The committed house model and its card."""

import pytest

from house.__main__ import HOUSE_WEIGHTS
from house.card import describe, hash_of_prompts, read_card, table
from house.exam import Mark


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


def test_a_mark_is_shown_with_its_interval():
    # Wilson, 95 %, 9 of 10: 0.596 to 0.982.
    assert table({"told": Mark(9, 10)}) == "| told | 9 | 10 | 0.90 (0.60–0.98) |"
