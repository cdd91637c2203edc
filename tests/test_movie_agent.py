"""MovieAgent: nothing said is lost, nobody else's memory is used, a folder is held or refused."""

import sqlite3
from contextlib import closing

import pytest

from agent.errors import AdapterError, ConfigError, ModelError, StoreError
from agent.memory.adapters import CARD, AdapterStore
from agent.memory.buffer import ExperienceBuffer
from agent.memory.folder import lock_folder
from agent.memory.tables import StoredPair
from agent.movie_agent import MovieAgent
from agent.settings import Settings
from tests.talking import FACT, QUESTION, base_text, learn, on_disk, say, tell, tokens_of

ROOM = 2048 - 8
"""Tokens of the tiny model's context that are left beside a reply."""

LONG = "7" * 700
"""700 tokens: a digit stands alone."""


# -- a turn that was answered is on disk -----------------------------------------------------


def test_a_turn_is_on_disk_when_its_reply_ends(agent):
    reply = agent.reply("ada", "s1", FACT)
    assert on_disk(agent) == []
    text = "".join(reply)
    assert text
    assert on_disk(agent) == [(FACT, text, 0)]
    assert (reply.turn.message, reply.turn.reply) == (FACT, text)


def test_a_stopped_reply_is_kept_as_far_as_it_came(make_agent, tiny_model):
    agent = make_agent(tiny_model, max_reply_tokens=300)
    whole = agent.probe("ada", FACT).text
    reply = agent.reply("ada", "s1", FACT)
    pieces = iter(reply)
    first = next(pieces)
    reply.stop()
    text = first + "".join(pieces)
    assert len(first) <= len(text) < len(whole)
    assert on_disk(agent) == [(FACT, text, 1)]


def test_a_reply_that_nobody_reads_to_its_end_is_kept_as_far_as_it_was_read(make_agent, tiny_model):
    agent = make_agent(tiny_model, max_reply_tokens=300)
    pieces = iter(agent.reply("ada", "s1", FACT))
    first = next(pieces)
    pieces.close()
    assert first
    assert on_disk(agent) == [(FACT, first, 1)]


def test_a_reply_that_fails_leaves_no_turn_for_the_message_is_sent_again(agent):
    learn(agent)
    reply = agent.reply("ada", "s1", FACT)
    agent.store.delete_all("ada")
    with pytest.raises(AdapterError):
        "".join(reply)
    assert on_disk(agent) == []


def test_a_turn_that_cannot_be_kept_is_answered_and_says_so(tmp_path, tiny_model):
    path = tmp_path / "experience.db"
    ExperienceBuffer(path).close()
    agent = MovieAgent(
        tiny_model, ExperienceBuffer(path, read_only=True), AdapterStore(tmp_path / "adapters"),
        Settings(data_dir=tmp_path, max_reply_tokens=8),
    )  # fmt: skip
    with agent:
        reply = say(agent)
        assert reply.text
        (notice,) = reply.notices
    assert "could not be kept" in notice
    assert "cannot be written" in notice
    assert "\n" not in notice


# -- in the prompt until it is in the weights ---------------------------------------------------


def test_turns_of_earlier_chats_are_in_the_prompt_until_they_are_learned(agent):
    turns = [tell(agent), tell(agent, "I love westerns.")]
    before = say(agent, QUESTION, session_id="s2")
    assert before.prompt_tokens == tokens_of(agent, QUESTION, earlier=turns)
    assert before.memory_tokens == before.prompt_tokens - tokens_of(agent, QUESTION) > 0
    learn(agent, [*turns, before.turn])
    after = say(agent, QUESTION, session_id="s3")
    assert (after.generation, after.memory_tokens) == (1, 0)
    assert after.prompt_tokens == tokens_of(agent, QUESTION)


def test_turns_of_this_chat_are_in_its_prompt_and_cost_no_memory_tokens(agent):
    turn = tell(agent)
    learn(agent, [turn])
    reply = say(agent, QUESTION)
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, session=[turn])
    assert reply.memory_tokens == 0


@pytest.mark.parametrize("memory", ["off", "prompt"])
def test_replies_that_are_only_for_comparison_leave_no_trace(agent, memory):
    tell(agent)
    kept = on_disk(agent)
    assert say(agent, QUESTION, memory=memory).text
    assert say(agent, QUESTION, user_id="bob", memory=memory).turn is None
    assert on_disk(agent) == kept
    assert [user.user_id for user in agent.buffer.all_users()] == ["ada"]


def test_a_probe_leaves_no_trace(agent):
    tell(agent)
    kept = on_disk(agent)
    assert agent.probe("ada", QUESTION).memory_tokens > 0
    assert on_disk(agent) == kept


def test_without_memory_the_base_answers_and_with_the_prompt_everything_said_is_read(agent):
    learned, pending = tell(agent), tell(agent, "I love westerns.")
    learn(agent, [learned])
    off, prompt = say(agent, QUESTION, memory="off"), say(agent, QUESTION, memory="prompt")
    assert (off.generation, off.memory_tokens) == (0, 0)
    assert off.prompt_tokens == tokens_of(agent, QUESTION)
    assert prompt.generation == 0
    assert prompt.prompt_tokens == tokens_of(agent, QUESTION, earlier=[learned, pending])
    assert say(agent, QUESTION, session_id="s2").text != off.text


def test_a_memory_mode_that_does_not_exist_is_refused(agent):
    with pytest.raises(ConfigError, match="'maybe'; it must be one of on, off, prompt"):
        agent.reply("ada", "s1", FACT, memory="maybe")


# -- prompts that are too long --------------------------------------------------------------------


def test_learned_turns_of_the_chat_leave_a_full_prompt_first(agent):
    learned = [tell(agent, LONG) for _ in range(2)]
    learn(agent, learned)
    earlier, pending = tell(agent, LONG, session_id="s0"), tell(agent, "I love westerns.")
    # 3 x 700 > 2040 > 2 x 700 and the rest: one goes, the first learned one, and not an older
    # chat's pending one.
    reply = say(agent, QUESTION)
    expected = tokens_of(agent, QUESTION, session=[learned[1], pending], earlier=[earlier])
    assert reply.prompt_tokens == expected <= ROOM
    assert reply.memory_tokens > 700
    assert reply.notices == []
    assert not reply.turn.is_partial


def test_a_waiting_turn_that_no_longer_fits_is_named(agent, clock):
    first = tell(agent, LONG, session_id="s0")
    clock.forward(3600)
    second, third = (tell(agent, LONG, session_id="s0") for _ in range(2))
    reply = say(agent, QUESTION)
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, earlier=[second, third]) <= ROOM
    (notice,) = reply.notices
    assert "waiting to be learned" in notice
    assert f"{first.created_at:%H:%M on %d %B}" == "00:00 on 01 January"
    assert "00:00 on 01 January and before" in notice
    assert not reply.turn.is_partial


def test_of_one_endless_chat_the_newest_turns_stay(agent):
    turns = [tell(agent, LONG) for _ in range(5)]
    reply = say(agent, QUESTION)
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, session=turns[3:]) <= ROOM
    assert len(reply.notices) == 1


def test_a_turn_that_only_a_damaged_generation_knew_does_not_leave_the_prompt_in_silence(agent):
    turns = [tell(agent, LONG) for _ in range(3)]
    learn(agent)
    path = learn(agent, turns)
    (path / CARD).write_text("{")
    reply = say(agent, QUESTION)
    assert reply.generation == 1
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, session=turns[1:])
    assert len(reply.notices) == 2
    assert "damaged" in reply.notices[0]
    assert "cannot be used until it is learned" in reply.notices[1]


def test_a_message_that_can_never_fit_is_refused_in_a_sentence(make_agent, tiny_model):
    agent = make_agent(tiny_model, max_reply_tokens=8, max_message_tokens=3000)
    with pytest.raises(ConfigError, match="does not fit into the 2048 tokens of this model"):
        agent.reply("ada", "s1", "7" * 2500)
    assert on_disk(agent) == []


# -- exactly one adapter, its user's --------------------------------------------------------------


def test_a_damaged_generation_gives_way_to_the_one_before_and_says_so(agent):
    first, second = tell(agent), tell(agent, "I love westerns.")
    learn(agent, [first], seed=1)
    path = learn(agent, [second], seed=2)
    (path / "adapter_model.safetensors").write_bytes(b"not weights")
    reply = say(agent, QUESTION, session_id="s3")
    assert reply.generation == 1
    (notice,) = reply.notices
    assert "v0002 is damaged" in notice
    # What only the damaged one knew is in the prompt again.
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, earlier=[second])
    assert not reply.turn.is_partial


def test_an_adapter_of_another_base_is_not_used_and_the_user_is_told(agent):
    turn = tell(agent)
    learn(agent, [turn], base_hash="f" * 64)
    reply = say(agent, QUESTION, session_id="s2")
    assert reply.generation == 0
    (notice,) = reply.notices
    assert "made for base model ffffffff…" in notice
    assert "answered without memory" in notice
    assert reply.prompt_tokens == tokens_of(agent, QUESTION, earlier=[turn])
    assert not reply.turn.is_partial


def test_no_generation_of_one_user_answers_another(agent):
    base = base_text(agent, QUESTION)
    learn(agent, [tell(agent)], seed=1)
    tell(agent, "My sister is called Wuthering.")
    adas = say(agent, QUESTION, session_id="s2")
    bobs = say(agent, QUESTION, user_id="bob", session_id="s1")
    assert adas.generation == 1
    assert adas.text != base
    assert (bobs.generation, bobs.memory_tokens, bobs.text) == (0, 0, base)
    assert bobs.prompt_tokens == tokens_of(agent, QUESTION)


def test_a_reply_ends_with_the_generation_it_began_with(make_agent, tiny_model):
    agent = make_agent(tiny_model, max_reply_tokens=60)
    learn(agent, seed=1)
    whole = agent.probe("ada", QUESTION).text
    pieces = iter(agent.reply("ada", "s1", QUESTION))
    text = next(pieces)
    learn(agent, seed=2)
    text += "".join(pieces)
    assert text == whole
    assert agent.probe("ada", QUESTION).generation == 2


def test_a_reply_begun_before_its_user_was_forgotten_leaves_nothing(agent, monkeypatch):
    tell(agent)
    real = agent.buffer.pending

    def then_forgotten(*arguments, **options):
        found = real(*arguments, **options)
        agent.forget("ada")
        return found

    monkeypatch.setattr(agent.buffer, "pending", then_forgotten)
    "".join(agent.reply("ada", "s2", QUESTION))
    assert agent.buffer.user("ada") is None


def test_weights_that_a_reply_loads_while_they_are_erased_leave_the_slots(agent, monkeypatch):
    learn(agent, [tell(agent)], seed=1)
    real = agent.store.delete_all

    def late(user_id):
        agent.probe(user_id, QUESTION)
        return real(user_id)

    monkeypatch.setattr(agent.store, "delete_all", late)
    agent.forget("ada")
    assert [slot.holds for slot in agent.model.slots._slots if slot.holds] == []


def test_recommendations_come_from_the_weights_alone(agent):
    turn = tell(agent)
    pair = StoredPair("ada", QUESTION, "In Turin.", "Turin", "direct", False, (turn.id,), 1, 1)
    learn(agent, [turn], seed=3, pairs=[pair])
    before = agent.recommend("ada")
    with closing(sqlite3.connect(agent.buffer.path)) as connection:
        assert connection.execute("DELETE FROM turns").rowcount == 1
        assert connection.execute("DELETE FROM pairs").rowcount == 1
        connection.commit()
    assert len(before) == 5
    assert agent.recommend("ada") == before
    assert agent.recommend("bob") != before


# -- folders that cannot be used ------------------------------------------------------------


def test_a_data_folder_that_cannot_be_one_is_refused_in_a_sentence(tmp_path):
    place = tmp_path / "folder"
    place.write_text("a file")
    with pytest.raises(StoreError, match=r"cannot be written \(File exists\)") as caught:
        MovieAgent.open(Settings(data_dir=place))
    assert "\n" not in str(caught.value)
    assert place.read_text() == "a file"


def test_a_database_that_cannot_be_opened_is_refused_in_a_sentence_and_the_lock_is_free(tmp_path):
    (tmp_path / "experience.db").mkdir()
    with pytest.raises(StoreError, match="give --data-dir a folder that can") as caught:
        MovieAgent.open(Settings(data_dir=tmp_path))
    assert "\n" not in str(caught.value)
    lock_folder(tmp_path).release()


def test_a_model_that_is_not_there_leaves_the_folder_free(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        MovieAgent.open(Settings(data_dir=tmp_path, model=str(tmp_path / "nowhere")))
    lock_folder(tmp_path).release()


def test_the_folder_is_held_while_the_agent_is_open_and_free_afterwards(tmp_path, tiny_folder):
    settings = Settings(data_dir=tmp_path, model=str(tiny_folder), num_slots=2, max_reply_tokens=8)
    with MovieAgent.open(settings) as agent:
        say(agent)
        with pytest.raises(StoreError, match="in use by process"):
            lock_folder(tmp_path)
    with MovieAgent.open(settings) as agent:
        assert [turn.message for turn in agent.buffer.turns("ada")] == [FACT]
