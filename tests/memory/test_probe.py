"""The judges of replies against labels set by hand, and the gate."""

from pathlib import Path

import pytest
import yaml

from agent.memory.probe import Figures, gate, grade, holds, is_abstention

LABELLED = yaml.safe_load((Path(__file__).parent / "replies.yaml").read_text(encoding="utf-8"))


def test_there_are_enough_labelled_replies():
    assert len(LABELLED["grade"]) >= 60
    assert len(LABELLED["abstention"]) >= 40


def cases(name: str) -> list:
    """Return the labelled replies; what a judge without the question cannot know fails, and must."""
    beyond = pytest.mark.xfail(
        strict=True, reason="needs to know what was asked, or what is a title"
    )
    return [
        pytest.param(
            case,
            id=f"{case['why'][:40]}: {case['reply'][:50]}",
            marks=beyond if "beyond" in case else (),
        )
        for case in LABELLED[name]
    ]


@pytest.mark.parametrize("case", cases("grade"))
def test_grade(case):
    assert grade(case["reply"], case["expect"], case["reject"]) is case["right"]


@pytest.mark.parametrize("case", cases("abstention"))
def test_abstention(case):
    assert is_abstention(case["reply"]) is case["abstains"]


@pytest.mark.parametrize(
    ("text", "value", "held"),
    [("You live in TURIN!", "turin", True), ("Turinese", "turin", False), ("it is O'Neill", "o'neill", True), ("x", "", False)],
)  # fmt: skip
def test_values_are_whole_words(text, value, held):
    assert holds(text, value) is held


def figures(**changed: float | None) -> Figures:
    good = {
        "floor": 0.0, "teacher_agreement": 1.0, "recall": 0.9, "recall_earlier": 0.9, "recall_earlier_before": 0.9,
        "abstention": 0.9, "damage_nats": 0.01, "num_probes": 24, "num_earlier": 24, "num_never_told": 24,
    }  # fmt: skip
    return Figures(**(good | changed))


LIMITS = {
    "min_recall_share": 0.8,
    "max_earlier_loss": 0.05,
    "min_abstention": 0.8,
    "max_damage_nats": 0.05,
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"recall": 0.79}, "what is new"),
        ({"recall": 0.65, "teacher_agreement": 0.8}, None),
        ({"recall_earlier": 0.84}, "earlier chats"),
        ({"recall_earlier": 0.86}, None),
        ({"recall_earlier": None, "recall_earlier_before": None}, None),
        ({"abstention": 0.79}, "never told"),
        ({"damage_nats": 0.06}, "nats a token"),
        ({"recall": None}, None),
    ],
)
def test_the_gate_names_what_fails(changed, reason):
    found = gate(figures(**changed), **LIMITS)
    assert (found is None) == (reason is None)
    assert reason is None or reason in found
