"""What the page does on each event, without the page: a desk, a real agent on the tiny model."""

import itertools
import re
import threading

import pytest

from agent.errors import AgentError, ConfigError, StoreError
from agent.memory.folder import check_user_id, user_id_of
from tests.talking import FACT, QUESTION, until
from tests.ui.talking import ADA, BOB, begin, kept, learn, say, tell
from ui import handlers, panels
from ui.handlers import Page


def retracted(agent):
    turns = agent.buffer.turns("ada", with_retracted=True)
    return [turn.message for turn in turns if turn.retracted_at is not None]


# -- a reply on its way --------------------------------------------------------------------------


def test_a_reply_grows_piece_by_piece_and_ends_with_what_it_cost(desk, agent):
    first, *middle, last = handlers.reply(desk, ADA, FACT, memory=True)
    user = {"role": "user", "content": FACT}
    assert first == ([user], "…", "")
    (turn,) = agent.buffer.turns("ada")
    assert last[0] == [user, {"role": "assistant", "content": turn.reply}]
    assert re.fullmatch(r"nothing learned yet · 0 memory tokens in the prompt · \d+\.\d s", last[1])
    assert len(middle) > 3
    texts = [history[1]["content"] for history, _, _ in middle]
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert {(line, box) for _, line, box in middle} == {("…", None)}


def test_what_waits_from_earlier_chats_is_counted_as_memory_tokens(desk, agent):
    tell(agent)
    _, line, _ = say(desk, QUESTION)
    tokens = int(re.search(r"(\d+) memory tokens", line)[1])
    assert tokens > agent.model.count_tokens(FACT)


def test_the_line_names_the_generation_that_answered(desk, agent):
    learn(agent, [tell(agent)])
    assert say(desk, QUESTION)[1].startswith("generation 1 · 0 memory tokens in the prompt · ")


def test_a_chat_goes_on_where_it_was(desk):
    before = say(desk)[0]
    after = say(desk, QUESTION)[0]
    assert after[:2] == before
    assert [message["content"] for message in after if message["role"] == "user"] == [
        FACT,
        QUESTION,
    ]


def test_memory_off_keeps_no_turn_and_says_so(desk, agent):
    tell(agent)
    history, line, _ = say(desk, QUESTION, memory=False)
    assert history[1]["content"]
    assert line.startswith("memory off · 0 memory tokens in the prompt")
    assert kept(agent) == [(FACT, False)]


def test_what_the_user_must_know_stands_below_the_line_as_text(desk):
    _, line, _ = say(desk, "7" * 600)
    assert "Your message was longer than 512 tokens" in line.replace("\\", "")
    assert "  \n" in line


def test_a_stopped_reply_is_kept_as_far_as_it_came(desk, agent):
    whole = agent.probe("ada", FACT).text
    updates = begin(desk)
    handlers.stop(desk, ADA)
    history, line, _ = list(updates)[-1]
    assert line.startswith("Stopped; what was said so far is kept · ")
    assert kept(agent) == [(FACT, True)]
    assert history[1]["content"] == agent.buffer.turns("ada")[0].reply != whole


def test_stopped_without_memory_nothing_is_said_to_be_kept(desk, agent):
    updates = handlers.reply(desk, ADA, FACT, memory=False)
    next(updates), next(updates)
    handlers.stop(desk, ADA)
    assert list(updates)[-1][1].startswith("Stopped · memory off")
    assert kept(agent) == []


def test_a_reply_stopped_before_it_began_leaves_no_turn_and_gives_the_message_back(desk, agent):
    updates = handlers.reply(desk, ADA, FACT, memory=True)
    next(updates)
    handlers.stop(desk, ADA)
    assert list(updates) == [([], "Stopped before it began; nothing was kept.", FACT)]
    assert kept(agent) == []
    assert say(desk)[0][0]["content"] == FACT


def test_a_reply_that_its_page_has_closed_is_kept_as_far_as_it_came(desk, agent):
    updates = begin(desk)
    updates.close()
    assert kept(agent) == [(FACT, True)]


def test_a_new_message_ends_the_reply_before_it_in_the_same_chat(desk, agent):
    updates = begin(desk)
    worker = threading.Thread(target=lambda: list(updates))
    second = handlers.reply(desk, ADA, QUESTION, memory=True)
    worker.start()
    *_, (history, _, _) = second
    worker.join()
    assert [message["content"] for message in history[::2]] == [FACT, QUESTION]
    assert [message for message, _ in kept(agent)] == [FACT, QUESTION]


def test_a_reply_that_is_slow_to_stop_is_waited_for_so_that_undo_finds_the_right_turn(desk, agent):
    updates = begin(desk)

    class Slow(threading.Event):
        """Any number of seconds is over before the reply ends."""

        def wait(self, timeout=None):
            if timeout is None:
                list(updates)
            return self.is_set()

    desk.chat(ADA.session_id).answering.ended = Slow()
    say(desk, QUESTION)
    list(updates)
    handlers.take_back(desk, ADA, 2)
    assert retracted(agent) == [QUESTION]
    assert kept(agent) == [(FACT, True)]


def test_what_goes_wrong_is_said_and_the_message_goes_back_into_the_box(desk, agent):
    before = say(desk)[0]
    updates = list(handlers.reply(desk, ADA, "\u200b", memory=True))
    assert len(updates) == 2
    history, line, box = updates[-1]
    assert (history, box) == (before, "\u200b")
    assert line.replace("\\", "") == "The message is empty. Type something to talk about."
    assert kept(agent) == [(FACT, False)]


def test_a_page_older_than_the_app_asks_to_be_reloaded(desk, agent):
    ((history, line, box),) = handlers.reply(desk, Page(), FACT, memory=True)
    assert (history, box) == (None, FACT)
    assert "Reload it." in line
    assert "reload it" in panels.panel(desk, Page()).text
    assert agent.buffer.all_users() == []


# -- taking back --------------------------------------------------------------------------------------


def test_undo_retracts_the_turn_and_returns_its_message(desk, agent):
    say(desk)
    say(desk, QUESTION)
    history, line, message = handlers.take_back(desk, ADA, 2)
    assert [part["content"] for part in history] == [FACT, agent.buffer.turns("ada")[0].reply]
    assert (line, message) == ("Taken back: it will not be learned.", QUESTION)
    assert retracted(agent) == [QUESTION]
    assert say(desk, "And now?")[0][:2] == history


def test_undo_further_up_retracts_all_that_follows_and_nothing_before(desk, agent):
    for message in (FACT, QUESTION, "And now?"):
        say(desk, message)
    assert len(handlers.take_back(desk, ADA, 2)[0]) == 2
    assert retracted(agent) == [QUESTION, "And now?"]
    assert kept(agent) == [(FACT, False)]


def test_undo_finds_its_turn_among_messages_that_were_not_kept(desk, agent):
    say(desk, "Not kept.", memory=False)
    say(desk)
    say(desk, QUESTION)
    handlers.take_back(desk, ADA, 2)
    assert retracted(agent) == [FACT, QUESTION]
    handlers.take_back(desk, ADA, 0)
    assert retracted(agent) == [FACT, QUESTION]


def test_undo_of_a_learned_turn_says_that_it_is_unlearned_later(desk, agent):
    say(desk)
    learn(agent, agent.buffer.turns("ada"))
    _, line, _ = handlers.take_back(desk, ADA, 0)
    assert "is unlearned when you have been quiet" in line


def test_undo_while_the_reply_is_on_its_way_stops_it_first(desk, agent):
    updates = begin(desk)
    worker = threading.Thread(target=lambda: shown.extend(updates))
    shown = []
    worker.start()
    history, _, message = handlers.take_back(desk, ADA, 0)
    worker.join()
    assert (history, message) == ([], FACT)
    assert retracted(agent) == [FACT]


def test_retry_says_it_again_and_retracts_what_was_said_before(desk, agent):
    first = say(desk)[0]
    say(desk, QUESTION)
    *_, (history, line, _) = handlers.say_again(desk, ADA, 2, memory=True)
    assert history[:2] == first
    assert history[2]["content"] == QUESTION
    assert "memory tokens" in line
    assert kept(agent) == [(FACT, False), (QUESTION, False)]
    assert retracted(agent) == [QUESTION]


def test_what_was_taken_back_cannot_be_taken_back_again(desk, agent):
    say(desk)
    handlers.take_back(desk, ADA, 0)
    with pytest.raises(AgentError, match="nothing was taken back"):
        handlers.take_back(desk, ADA, 0)
    ((history, line, box),) = handlers.say_again(desk, ADA, 0, memory=True)
    assert (history, box) == (None, None)
    assert "nothing was taken back" in line.replace("\\", "")
    assert len(agent.buffer.turns("ada", with_retracted=True)) == 1


def test_what_could_not_be_taken_back_can_be_taken_back_later(desk, agent, monkeypatch):
    def full(*_):
        raise StoreError("The disk is full.")

    before = say(desk)[0]
    with monkeypatch.context() as broken:
        broken.setattr(agent.buffer, "retract", full)
        with pytest.raises(StoreError):
            handlers.take_back(desk, ADA, 0)
        (update,) = handlers.say_again(desk, ADA, 0, memory=True)
    assert update == (None, r"The disk is full\.", None)
    assert say(desk, QUESTION)[0][:2] == before
    handlers.take_back(desk, ADA, 0)
    assert retracted(agent) == [FACT, QUESTION]


# -- new chats and names ------------------------------------------------------------------------


def test_a_new_chat_knows_nothing_of_the_one_before_but_what_waits(desk, agent):
    say(desk)
    page = handlers.new_chat(desk, ADA)
    assert (page.user_id, page.display_name) == ("ada", "Ada")
    history, line, _ = say(desk, QUESTION, page=page)
    assert len(history) == 2
    assert "0 memory tokens" not in line
    assert len({turn.session_id for turn in agent.buffer.turns("ada")}) == 2


def test_a_new_chat_keeps_what_the_reply_on_its_way_had_and_shows_no_more_of_it(desk, agent):
    updates = begin(desk)
    shown = []
    worker = threading.Thread(target=lambda: shown.extend(updates))
    leaving = threading.Thread(target=lambda: handlers.new_chat(desk, ADA))
    leaving.start()
    until(lambda: not desk._chats)
    worker.start()
    leaving.join()
    worker.join()
    assert shown == []
    assert kept(agent) == [(FACT, True)]


def test_a_name_is_shown_as_it_was_typed_and_its_id_is_derived(desk, agent):
    page = handlers.choose_name(desk, ADA, " José ")
    assert (page.user_id, page.display_name) == ("jose", "José")
    assert page.session_id != ADA.session_id
    assert agent.buffer.user("jose").display_name == "José"


@pytest.mark.parametrize("name", ["", "   ", "!?", "😀", "x" * 61])
def test_a_name_that_cannot_be_one_is_refused_and_changes_nothing(desk, agent, name):
    say(desk)
    with pytest.raises(ConfigError, match="cannot be used as a name"):
        handlers.choose_name(desk, ADA, name)
    assert [user.user_id for user in agent.buffer.all_users()] == ["ada"]
    assert len(say(desk, QUESTION)[0]) == 4


def test_names_in_any_script_are_names_and_no_two_fall_onto_one_memory():
    names = [
        "Мария",
        "Иван",
        "東京",
        "Łukasz",
        "Łukas",
        "ukasz",
        "x" * 45,
        "x" * 46,
        "Мария 1",
        "Иван 1",
    ]
    ids = [user_id_of(name) for name in names]
    assert len(set(ids)) == len(names)
    assert [check_user_id(user_id) for user_id in ids] == ids
    assert user_id_of("José") == user_id_of("jose") == "jose"
    assert user_id_of(" мария ") == user_id_of("Мария")


@pytest.mark.parametrize("name", ["../x", "..\\x", "/etc/passwd", "", "  ", "!!!", "x" * 300])
def test_what_cannot_be_a_name_is_refused_in_a_sentence(name):
    with pytest.raises(ConfigError, match="cannot be used as a name") as refused:
        user_id_of(name)
    assert len(str(refused.value)) < 200


def test_two_pages_do_not_see_each_other(desk, agent):
    same = Page("ada", "Ada", "a2")
    say(desk, "I am Ada.")
    assert len(say(desk, "I am Bob.", page=BOB)[0]) == 2
    assert len(say(desk, "I am Ada too.", page=same)[0]) == 2
    handlers.take_back(desk, BOB, 0)
    assert [message for message, _ in kept(agent)] == ["I am Ada.", "I am Ada too."]
    assert kept(agent, "bob") == []
