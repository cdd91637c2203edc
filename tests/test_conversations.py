"""The conversations that the figures of docs/evaluation.md come from: many, and unseen."""

from pathlib import Path

import pytest
import yaml

from agent.memory.synthesis import DATA_DIR
from agent.scripts import read_script
from house.wordings import WORDINGS_DIR, normalise, read_yaml

FOLDER = Path(__file__).parent / "conversations"
FILES = sorted(FOLDER.glob("*.yaml"))


def lines_of(data: object) -> set[str]:
    """Return every text in a tree of YAML, normalised."""
    if isinstance(data, dict):
        return set().union(*map(lines_of, data.values())) if data else set()
    if isinstance(data, list):
        return set().union(*map(lines_of, data)) if data else set()
    return {normalise(data)}


@pytest.fixture(scope="module")
def users() -> list:
    return [user for path in FILES for user in read_script(path)]


@pytest.fixture(scope="module")
def said(users) -> dict[str, set[str]]:
    """Every line, by what it is for."""
    says = [say for user in users for step in user.steps for say in step.says]
    return {
        "asked": {normalise(say.text) for say in says if say.expect},
        "untold": {normalise(say.text) for say in says if say.abstain},
        "told": {normalise(say.text) for say in says if not say.expect and not say.abstain},
    }


def test_there_are_enough_users_facts_and_untold_things(users, said):
    assert len(users) >= 8
    assert len(said["asked"]) >= 60
    assert len(said["untold"]) >= 40


def test_each_fact_is_asked_in_all_three_modes(users):
    for user in users:
        asked = {mode: set() for mode in ("on", "off", "prompt")}
        for step in user.steps:
            for say in step.says:
                if say.expect:
                    asked[say.memory].add(say.text)
        assert asked["off"] == asked["prompt"]
        assert asked["prompt"] <= asked["on"]
        assert asked["prompt"]


def test_no_line_is_in_the_wordings_or_the_question_bank(said):
    known = lines_of([read_yaml(path) for path in WORDINGS_DIR.rglob("*.yaml")])
    known |= lines_of(
        yaml.load((DATA_DIR / "question_bank.yaml").read_text(), Loader=yaml.BaseLoader)
    )
    known |= lines_of(yaml.load((DATA_DIR / "unrelated.yaml").read_text(), Loader=yaml.BaseLoader))
    assert len(known) > 10_000
    for name in ("asked", "untold"):
        assert said[name] & known == set()
