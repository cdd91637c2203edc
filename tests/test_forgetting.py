"""Forgetting and silence: nothing is left of the forgotten, and no word of anybody is logged."""

import re

from agent.memory.tables import StoredPair
from tests.talking import FACT, QUESTION, base_text, learn, on_disk, say, tell


def bytes_below(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_is_forgotten_is_in_no_file(agent, tmp_path):
    turn = tell(agent, "My locker word is Quillaborn.")
    pair = StoredPair(
        "ada", "What is my locker word?", "It is Quillaborn.", "Quillaborn", "direct", True,
        (turn.id,), 1, 1,
    )  # fmt: skip
    learn(agent, [turn], pairs=[pair], report={"reason": "Quillaborn"})
    learn(agent)
    say(agent, "Quillaborn, remember?", session_id="s2")
    tell(agent, "Bob keeps this one.", user_id="bob")
    learn(agent, user_id="bob")
    base = base_text(agent, QUESTION)
    assert b"Quillaborn" in bytes_below(tmp_path)

    assert agent.forget("ada") == (2, 2)

    assert b"Quillaborn" not in bytes_below(tmp_path)
    assert agent.buffer.pairs("ada") == agent.buffer.reports("ada") == []
    assert agent.buffer.user("ada") is None
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["bob"]
    assert b"Bob keeps this one." in bytes_below(tmp_path)
    reply = say(agent, QUESTION, session_id="s2")
    assert (reply.generation, reply.memory_tokens, reply.text) == (0, 0, base)
    assert agent.forget("nobody") == (0, 0)


def test_a_new_first_generation_is_not_taken_for_the_forgotten_one(agent):
    learn(agent, seed=1)
    forgotten = say(agent, QUESTION).text
    agent.forget("ada")
    learn(agent, seed=2)
    reply = say(agent, QUESTION, session_id="s2")
    assert reply.generation == 1
    assert reply.text != forgotten


def test_a_reply_that_ends_after_the_forgetting_is_not_kept(make_agent, tiny_model, tmp_path):
    agent = make_agent(tiny_model, max_reply_tokens=60)
    pieces = iter(agent.reply("ada", "s1", "My locker word is Quillaborn."))
    assert next(pieces)
    assert agent.forget("ada") == (0, 0)
    "".join(pieces)
    assert on_disk(agent) == []
    assert agent.buffer.user("ada") is None
    assert b"Quillaborn" not in bytes_below(tmp_path)
    later = say(agent)
    assert on_disk(agent) == [(FACT, later.text, 0)]


def test_no_word_of_a_turn_is_logged(make_agent, tiny_model, caplog):
    agent = make_agent(tiny_model, max_reply_tokens=40, question_rounds=1)
    caplog.set_level("INFO")
    message = "Quillaborn Wuthering is my secret word."
    texts = [
        say(agent, message).text,
        say(agent, f"{message} " * 200).text,
        agent.probe("ada", message).text,
    ]
    agent.consolidate("ada")
    tell(agent, message)
    agent.consolidator._consolidation.learner.bank = None  # as a programming error would
    agent.consolidate("ada")
    assert "Consolidation of ada failed" in caplog.text
    assert not re.search("Quillaborn|Wuthering|secret", caplog.text)
    assert all(len(text) > 10 for text in texts)
    assert not any(text[:10] in caplog.text for text in texts)
