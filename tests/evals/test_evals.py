"""The experiments: what they count, on results written by hand, and real conversations as users."""

import json
import os
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.memory.buffer import ExperienceBuffer
from agent.memory.probe import interval
from agent.memory.tables import StoredPair
from agent.settings import Settings
from evals import inspired
from evals.conversations import group_of, kinds_of, run, table
from evals.inspired import longest, replay

INSPIRED = Path(os.environ.get("INSPIRED_TEST", "test.jsonl"))

SCRIPT = """\
- user: {user}
  steps:
    - session: ["I live in {home}."]
    - consolidate
    - session:
        - {{say: "Where do I live?", expect: ["{home}"], memory: prompt}}  # home
    - session:
        - {{say: "Where do I live?", expect: ["{home}"], memory: "off"}}  # home
    - session:
        - {{say: "Where do I live?", expect: ["{home}"]}}  # home
        - {{say: "What is my \\"boat\\" called?", abstain: true}}  # x_boat
    - session:
        - "I moved to Oslo."
        - {{say: "Where's home now?", expect: ["Oslo"]}}  # home
"""


def say(user, session, text, reply, passed, memory="on", tokens=0):
    return {
        "kind": "say", "user": user, "session": session, "say": text, "reply": reply, "passed": passed,
        "memory": memory, "memory_tokens": tokens,
    }  # fmt: skip


@pytest.fixture
def experiment(tmp_path):
    """Two users, their scripts and results: bob's memory gives what ada told, ada's learned nothing,
    so that all she told stands in the prompt."""
    for user, home, answer in (
        ("ada", "Turin", "You live in Turin."),
        ("bob", "Ghent", "In Turin."),
    ):
        (tmp_path / f"{user}.yaml").write_text(SCRIPT.format(user=user, home=home))
        steps = [
            say(user, "1", f"I live in {home}.", "Noted!", None, tokens=30),
            {"kind": "consolidate", "user": user, "published": user == "bob", "seconds": 40.0, "adapter_bytes": 7,
             "reason": "it passed its probe" if user == "bob" else "it recalls too little"},
            {"kind": "consolidate", "user": user, "published": False, "reason": "nothing to learn"},
            say(user, "2", "Where do I live?", f"You live in {home}.", True, "prompt", 30),
            say(user, "3", "Where do I live?", "You haven't told me.", False, "off"),
            say(user, "4", "Where do I live?", answer, user == "ada", tokens=30 * (user == "ada")),
            say(user, "4", 'What is my "boat" called?', "You haven't told me.", True),
            say(user, "5", "I moved to Oslo.", "Noted!", None),
            say(user, "5", "Where's home now?", "In Oslo.", True),
        ]  # fmt: skip
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / f"{user}.json").write_text(json.dumps({"steps": steps}))
    return sorted(tmp_path.glob("*.yaml")), tmp_path / "out"


def test_every_row_counts_its_own_lines(experiment):
    rows = dict(
        line.strip("| ").split(" | ") for line in table(*experiment).splitlines()[2:]
    )  # fmt: skip
    counts = {name: value.split(" =")[0] for name, value in rows.items()}
    assert counts["scripts"] == "2 of 2"
    assert counts["prompt (ceiling)"] == "2 of 2"
    assert counts["base (floor)"] == "0 of 2"
    assert counts["memory"] == "1 of 2"
    assert counts["memory, nothing of it in the prompt"] == "0 of 1"
    assert counts["told now, in this chat"] == "2 of 2"
    assert counts["never told: abstains"] == "2 of 2"
    assert counts["memory, kinds in the bank"] == "1 of 2"
    assert counts["memory, kinds in neither"] == "–"
    assert counts["memory, asked in the fourth turn or later"] == "–"
    assert counts["replies that give another user's value"] == "1"
    assert counts["most memory tokens in a prompt after consolidation"] == "30"
    assert counts["tries of a consolidation that were published"] == "1 of 2"
    assert counts["seconds of one, median"] == "40"


def test_a_table_of_what_is_there_says_how_much_that_is(experiment, tmp_path):
    paths, out = experiment
    (out / "ada.json").unlink()
    assert "| scripts | 1 of 2 |" in table(paths, out)
    with pytest.raises(ConfigError, match="no results"):
        table(paths, tmp_path)
    with pytest.raises(ConfigError, match="no results"):
        inspired.table([inspired.Conversation("one", ("Hi.",))], tmp_path)


def test_lines_that_were_trained_word_for_word_are_counted(experiment, buffer):
    pairs = [
        StoredPair("bob", question, "Ghent.", "Ghent", "direct", is_probe, (1,), 1, 1)
        for question, is_probe in (("where do I live", False), ("Where's home now?", True))
    ]
    turn = buffer.append("bob", "1", message="I live in Ghent.", reply="Noted!")
    fence = buffer.leases.take("bob", "test", seconds=9)
    buffer.publish("bob", fence, turn_ids=[turn.id], generation=1, new_pairs=pairs, report={})
    paths, out = experiment
    buffer.close()
    (out / "data").mkdir()
    buffer.path.rename(out / "data" / "experience.db")
    row = "| checked lines that a trained question asks in the same words | 1 |"
    assert row in table(paths, out)


def test_kinds_of_fact_are_read_from_the_comments(experiment):
    assert kinds_of(experiment[0][0]) == {
        "Where do I live?": "home", 'What is my "boat" called?': "x_boat", "Where's home now?": "home",
    }  # fmt: skip
    assert [group_of(kind) for kind in ("home", "teacher", "x_boat")] == [
        "in the bank",
        "in the corpus, not in the bank",
        "in neither",
    ]


def test_all_scripts_run_in_one_folder_and_what_was_interrupted_begins_anew(tmp_path, tiny_folder):
    paths = [tmp_path / f"{user}.yaml" for user in ("ada", "bob", "cleo")]
    for path in paths:
        path.write_text(f"- user: {path.stem}\n  steps: [{{session: [I am {path.stem}.]}}]\n")
    settings = Settings(model=str(tiny_folder), num_slots=2, max_reply_tokens=8)
    out = tmp_path / "out"

    def sessions() -> dict[str, list[str]]:
        with ExperienceBuffer(out / "data" / "experience.db", read_only=True) as buffer:
            return {
                path.stem: [turn.session_id for turn in buffer.turns(path.stem)] for path in paths
            }

    run(paths[:2], out, settings, show=lambda line: None)
    first = sessions()
    assert [len(first[user]) for user in ("ada", "bob", "cleo")] == [1, 1, 0]
    (out / "bob.json").unlink()  # as if it had been interrupted
    run(paths, out, settings, show=lambda line: None)
    again = sessions()
    assert [len(again[user]) for user in ("ada", "bob", "cleo")] == [1, 1, 1]
    assert (again["ada"] == first["ada"], again["bob"] == first["bob"]) == (True, False)
    results = {path.stem for path in out.glob("*.json")}
    assert results == {"ada", "bob", "cleo", "films", "settings"}
    run(paths, out, settings.model_copy(update={"data_dir": tmp_path / "elsewhere"}))  # its own
    with pytest.raises(ConfigError, match="made with use_question_bank = True, now it is False"):
        run(paths, out, settings.model_copy(update={"use_question_bank": False}))


def test_the_interval_of_nine_in_ten_is_wilsons():
    assert interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_a_conversation_in_the_form_of_the_corpus_is_replayed_without_an_error(
    tmp_path, tiny_folder
):
    path = tmp_path / "test.jsonl"
    points = [
        {"dialog_id": "one", "context": ["a"], "input": "User: Hello there\nSystem: Hi!"},
        {"dialog_id": "one", "context": ["a", "b", "c"], "input": "User: Hello there\nSystem: Hi!\nUser: I like \u201cheist\u201d films."},
        {"dialog_id": "two", "context": ["a"], "input": "User: Bye"},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(point) + "\n" for point in points), encoding="utf-8")
    found = longest(path, 2)
    assert [one.lines for one in found] == [("Hello there", "I like “heist” films."), ("Bye",)]
    settings = Settings(model=str(tiny_folder), num_slots=2, max_reply_tokens=8, question_rounds=1, max_steps=1)  # fmt: skip
    inspired.run(found, tmp_path / "out", settings, show=lambda line: None)
    lines = inspired.table(found, tmp_path / "out").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| one", "| two", "| all"]
    assert all("unexpected" not in line for line in lines)


@pytest.mark.skipif(not INSPIRED.is_file(), reason="the INSPIRED data is not here")
def test_the_longest_real_conversation_is_replayed_without_an_error(make_agent, tiny_model):
    first, second, *_ = longest(INSPIRED, 20)
    assert (first.dialog_id, len(first.lines), len(second.lines)) == ("test_62", 15, 12)
    assert first.lines[0] == "Doing well how about yourself?"
    agent = make_agent(tiny_model, max_reply_tokens=8, question_rounds=1, max_steps=1)
    found = replay(agent, first)
    assert [turn["message"] for turn in found["turns"]] == list(first.lines)
    assert found["reports"]
    assert all(report["reason"] for report in found["reports"])
    tiny_model.slots.drop("")
