"""What the page does on each event, without the page: a desk, a real agent on the tiny model."""

import itertools
import re
import threading
from html.parser import HTMLParser

import pytest

from agent.errors import AgentError, ConfigError, ModelError
from agent.memory.folder import check_user_id, user_id_of
from agent.memory.job import Progress, Report
from agent.memory.probe import Figures
from ui import handlers, panels
from ui.desk import Desk
from ui.handlers import Page

FACT = "I live in Turin."
QUESTION = "Where do I live?"

ADA, BOB = Page("ada", "Ada", "a1"), Page("bob", "Bob", "b1")


@pytest.fixture
def agent(make_agent, tiny_model):
    tiny_model.slots.drop("")  # the slots of other tests' users
    yield make_agent(
        tiny_model, max_reply_tokens=40, question_rounds=1, use_question_bank=False, idle_seconds=90
    )
    tiny_model.slots.drop("")


@pytest.fixture
def desk(agent):
    with Desk(agent.settings, None, open_agent=lambda settings, lock: agent) as desk:
        assert desk.agent is agent
        yield desk


class Closed:
    """A desk whose agent is not there before `open`."""

    def __init__(self, agent):
        self._door = threading.Event()
        self.open = self._door.set
        self.desk = Desk(agent.settings, None, open_agent=lambda *_: self._door.wait(10) and agent)


@pytest.fixture
def closed(agent):
    closed = Closed(agent)
    with closed.desk:
        yield closed
        closed.open()


def say(desk, message=FACT, *, page=ADA, memory=True):
    """Say a message and return the last update of the page."""
    return list(handlers.reply(desk, page, message, memory=memory))[-1]


def begin(desk, message=FACT, *, page=ADA):
    """Say a message and return what is still to come once the reply has begun."""
    updates = handlers.reply(desk, page, message, memory=True)
    assert [next(updates)[1], next(updates)[1]] == ["…", "…"]
    return updates


def tell(agent, message=FACT, *, user_id="ada"):
    """Write a turn as if it had been answered in an earlier chat."""
    return agent.buffer.append(user_id, "earlier", message=message, reply="Noted!")


def report(*, published=True, reason="it passed its probe", recall=0.9, abstention=0.8, **values):
    """Return a report as the buffer keeps it; its numbers are made up."""
    numbers = dict.fromkeys(Figures.__dataclass_fields__, 0)
    figures = Figures(**(numbers | {"recall": recall, "abstention": abstention, "num_probes": 10}))
    values = {"num_turns": 1} | values
    return Report("ada", None, published, reason, figures=figures, **values).as_dict()


def learn(agent, turns, **values):
    """Publish a generation that does nothing, as one that knows these turns."""
    agent.model.slots.start_training(None, seed=0)
    number = agent.store.next_generation("ada")
    agent.store.publish(
        "ada", number, agent.model.slots.trained_tensors(), config={},
        card={"base_hash": agent.model.base_hash},
    )  # fmt: skip
    fence = agent.buffer.lease("ada", "test", seconds=60)
    assert agent.buffer.publish(
        "ada", fence, turn_ids=[turn.id for turn in turns], generation=number, report=report(**values)
    )  # fmt: skip
    agent.buffer.release("ada", fence)


def set_aside(agent, turn):
    """Reject a turn as often as a consolidation may."""
    for _ in range(2):
        fence = agent.buffer.lease("ada", "test", seconds=60)
        failed = report(
            published=False, reason="It forgot too much.", created_at="2025-01-01T00:00:00+00:00"
        )
        agent.buffer.reject("ada", fence, turn_ids=[turn.id], report=failed)  # fmt: skip
        agent.buffer.release("ada", fence)


def until(condition):
    """Wait for what the consolidator does on its thread."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen within 10 s")


def paragraphs(panel):
    return panel.text.split("\n\n")


def kept(agent, user_id="ada"):
    return [(turn.message, turn.is_partial) for turn in agent.buffer.turns(user_id)]


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


# -- before the model is there ---------------------------------------------------------------------


def test_a_message_said_while_the_model_is_being_loaded_is_answered_after(closed, agent):
    updates = handlers.reply(closed.desk, ADA, FACT, memory=True)
    assert next(updates)[1] == "The model is being loaded, a few seconds."
    assert panels.panel(closed.desk, ADA) == panels.Panel("**The model is being loaded…**")
    closed.open()
    history, line, _ = list(updates)[-1]
    assert history[1]["content"] == agent.buffer.turns("ada")[0].reply
    assert "memory tokens" in line


def test_a_chat_left_while_the_model_is_being_loaded_is_neither_answered_nor_shown(closed, agent):
    updates = handlers.reply(closed.desk, ADA, FACT, memory=True)
    next(updates)
    handlers.new_chat(closed.desk, ADA)
    closed.open()
    assert list(updates) == []
    assert kept(agent) == []


def refuse(*_):
    raise ModelError("No model in ./x: config.json is missing. Pass *another* folder.")


def test_a_model_that_cannot_be_loaded_is_named_in_the_panel_and_below_the_chat(agent):
    with Desk(agent.settings, None, open_agent=refuse) as desk:
        history, line, box = say(desk)
        assert (history, box) == ([], FACT)
        panel = panels.panel(desk, ADA)
        with pytest.raises(ModelError):
            handlers.choose_name(desk, ADA, "Bob")
    assert "Pass *another* folder" in re.sub(r"\\(.)", r"\1", line)
    assert r"Pass \*another\* folder" in panel.text
    assert not panel.can_learn


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_while_loading_ends_the_waiting_too(agent):
    with Desk(agent.settings, None, open_agent=lambda *_: 1 / 0) as desk:
        assert "the log says why" in say(desk)[1]


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


# -- new chats, names, forgetting ------------------------------------------------------------------------


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


def test_two_pages_do_not_see_each_other(desk, agent):
    same = Page("ada", "Ada", "a2")
    say(desk, "I am Ada.")
    assert len(say(desk, "I am Bob.", page=BOB)[0]) == 2
    assert len(say(desk, "I am Ada too.", page=same)[0]) == 2
    handlers.take_back(desk, BOB, 0)
    assert [message for message, _ in kept(agent)] == ["I am Ada.", "I am Ada too."]
    assert kept(agent, "bob") == []


def test_forgetting_erases_one_user_counts_what_there_was_and_opens_a_new_chat(desk, agent):
    page = Page("ada", "A*d*a", "a1")
    learn(agent, [tell(agent)])
    say(desk, page=page)
    say(desk, page=BOB)
    fresh, history, line = handlers.forget(desk, page)
    assert line == r"Erased 2 turns and 1 generation of A\*d\*a."
    assert history == []
    assert fresh.session_id != page.session_id
    assert agent.buffer.user("ada") is None
    assert agent.store.generations("ada") == []
    assert kept(agent, "bob") == [(FACT, False)]


# -- the panel -----------------------------------------------------------------------------------------


def test_the_panel_counts_what_waits_and_what_it_costs(desk, agent):
    assert panels.panel(desk, ADA) == panels.Panel(
        "**0 waiting to be learned**\n\nNothing is learned about you yet."
    )
    turns = [tell(agent), tell(agent, "I love westerns.")]
    tokens = sum(agent.model.count_tokens(turn.message + turn.reply) for turn in turns)
    assert tokens > 10
    now = panels.panel(desk, ADA)
    assert paragraphs(now) == [
        f"**2 waiting to be learned**: {tokens} tokens of each prompt, 0 after",
        "Learned after 90 s of quiet, or now.",
    ]
    assert (now.can_learn, now.can_retry, now.can_cancel) == (True, False, False)
    assert "0 waiting" in panels.panel(desk, BOB).text


def test_the_panel_tells_what_was_learned_and_how_well(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, seconds=12.4)
    now = panels.panel(desk, ADA)
    assert paragraphs(now) == [
        "**0 waiting to be learned**",
        "Generation 1 of your memory answers.",
        "Last learned: 3 facts from 1 turn in 12 s. I answer 90% of test questions about them without the "
        "chat in front of me. Asked what you never told me, I say so in 80% of cases.",
    ]
    assert not now.can_learn


def test_the_panel_says_what_was_not_understood(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, num_doubtful=1)
    assert "1 thing I did not understand well enough" in paragraphs(panels.panel(desk, ADA))[-1]


def test_the_panel_is_silent_about_what_was_not_measured(desk, agent):
    learn(agent, [tell(agent)], num_turns=1, num_facts=3, abstention=None)
    assert paragraphs(panels.panel(desk, ADA))[-1].endswith("in front of me.")


def test_the_panel_counts_again_what_a_lost_generation_knew(desk, agent):
    learn(agent, [tell(agent)])
    (agent.store.path("ada", 1) / "adapter_model.safetensors").write_bytes(b"not weights")
    now = panels.panel(desk, ADA)
    assert now.text.startswith("**1 waiting to be learned**: ")
    assert "Generation 1 of your memory" not in now.text
    assert "damaged" in now.text
    assert now.can_learn


def test_asked_for_a_consolidation_happens_and_its_outcome_is_told(desk, agent):
    tell(agent)
    handlers.consolidate(desk, ADA)
    until(lambda: agent.buffer.reports("ada"))
    now = panels.panel(desk, ADA)
    # The tiny model finds nothing to learn in anything.
    assert paragraphs(now)[0] == "**0 waiting to be learned**"
    assert paragraphs(now)[-1] == "Last look: 1 turn, nothing to learn."
    assert not now.can_learn


def test_while_it_learns_the_panel_shows_a_bar_to_whom_it_learns_about_and_a_queue_to_others(
    desk, agent
):
    tell(agent)
    tell(agent, user_id="bob")
    seen = []
    agent.consolidator.run(
        "ada",
        on_progress=lambda progress: seen.append(
            (panels.panel(desk, ADA), panels.panel(desk, BOB))
        ),
    )
    assert len(seen) > 1
    for hers, his in seen:
        assert "<progress" in hers.progress
        assert (hers.can_learn, hers.can_cancel) == (False, True)
        assert his.progress == "Somebody else's turn to be learned; yours comes after."
        assert (his.can_learn, his.can_cancel) == (True, False)
    assert "Learned after" not in seen[0][0].text
    assert panels.panel(desk, ADA).progress == ""


def test_a_cancelled_consolidation_keeps_the_turns_and_does_not_promise_to_go_on_by_itself(
    desk, agent, clock
):
    tell(agent)
    agent.consolidator.run("ada", on_progress=lambda progress: handlers.cancel(desk, ADA))
    now = panels.panel(desk, ADA)
    text = now.text.replace("\\", "")
    assert text.startswith("**1 waiting to be learned**")
    assert "Not learned: it was cancelled: the old generation stays, the turns wait." in text
    assert "of quiet" not in text
    assert now.can_learn
    clock.forward(1)
    tell(agent, "I love westerns.")
    assert "Learned after 90 s of quiet, or now." in panels.panel(desk, ADA).text


def test_nobody_cancels_what_is_learned_about_somebody_else(desk, agent):
    tell(agent)
    reports = agent.consolidator.run("ada", on_progress=lambda _: handlers.cancel(desk, BOB))
    assert [report.reason for report in reports] == ["nothing to learn"]


def test_what_could_not_be_learned_is_set_aside_and_can_be_tried_again(desk, agent):
    turn = tell(agent)
    set_aside(agent, turn)
    now = panels.panel(desk, ADA)
    assert paragraphs(now)[0].startswith("**0 waiting to be learned**: ")
    assert "**1 could not be learned**, twice." in now.text
    assert "Not learned: it forgot too much" in now.text
    assert (now.can_learn, now.can_retry) == (False, True)
    handlers.consolidate(desk, ADA)
    until(lambda: "Last look: 1 turn" in panels.panel(desk, ADA).text)
    assert not panels.panel(desk, ADA).can_retry


class _Bars(HTMLParser):
    def __init__(self):
        super().__init__()
        self.values = []

    def handle_starttag(self, tag, attributes):
        if tag == "progress":
            self.values.append(float(dict(attributes)["value"]))


def test_the_bar_never_goes_back_from_stage_to_stage():
    bars = _Bars()
    for stage in panels.STAGES:
        for done in (0, 1, 2):
            bars.feed(panels.progress_bar(Progress("ada", stage, done, 2, None, 1.0, None)))
    assert len(bars.values) == 3 * len(panels.STAGES)
    assert bars.values == sorted(bars.values)
    assert (bars.values[0], bars.values[-1]) == (0.0, 1.0)
