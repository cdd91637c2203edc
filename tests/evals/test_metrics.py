"""Every metric against an example worked by hand."""

import math

import pytest

from evals.metrics import (
    bootstrap,
    exact_match,
    mrr_at,
    ndcg_at,
    paired_difference,
    qa_f1,
    rank_of,
    recall_at,
)


@pytest.mark.parametrize(
    ("answer", "expected", "f1"),
    [
        ("The cat sat.", "a cat sat", 1.0),  # articles, case and stops do not count
        ("You live in Porto.", "Porto", 2 / 5),  # one of four words, all of one: 2·1/(4+1)
        ("Porto Porto", "Porto", 2 / 3),  # a word counts as often as both have it
        ("Lisbon", "Porto", 0.0),
        ("", "Porto", 0.0),
    ],
)
def test_f1_of_words(answer, expected, f1):
    assert qa_f1(answer, expected) == pytest.approx(f1)
    assert exact_match(answer, expected) == (f1 == 1.0)


def test_a_ranking_by_hand():
    ranking = ["Alien", "Heat", "Up"]
    assert [rank_of(title, ranking) for title in ("Alien", "Up", "Her")] == [1, 3, None]
    assert [recall_at(2, rank) for rank in (1, 2, 3, None)] == [1, 1, 0, 0]
    # DCG of one right title at place 3 is 1 / log2(4).
    assert [ndcg_at(10, rank) for rank in (1, 3, 11, None)] == [1, 0.5, 0, 0]
    assert ndcg_at(10, 2) == pytest.approx(1 / math.log2(3))
    assert [mrr_at(10, rank) for rank in (1, 4, 11, None)] == [1, 0.25, 0, 0]


def test_the_interval_of_a_mean_holds_it_and_narrows_with_more_values():
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 200
    low, high = bootstrap(few)
    # The deviation of a mean of 20 such values is 0.5 / sqrt(20) = 0.112.
    assert low == pytest.approx(0.5 - 1.96 * 0.112, abs=0.04)
    assert high == pytest.approx(0.5 + 1.96 * 0.112, abs=0.04)
    assert bootstrap(many)[1] - bootstrap(many)[0] < (high - low) / 3
    assert bootstrap([0.7] * 9) == (pytest.approx(0.7), pytest.approx(0.7))


def test_a_paired_difference_sees_what_is_the_same_in_both():
    theirs = [0.0, 0.2, 0.4, 0.6, 0.8] * 8
    ours = [value + 0.1 for value in theirs]
    mean, low, high = paired_difference(ours, theirs)
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))
    _, low, high = paired_difference(theirs, list(reversed(theirs)))
    assert low < 0 < high
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 0.0])
