"""When the consolidator works, on which turns, and what a failure leaves behind.

The tiny model has learned nothing, so that whatever it writes about a message holds no evidence:
its consolidations run to the end of the synthesis and find nothing to learn.
"""

import threading

import pytest
import torch

from agent.errors import AdapterError, StoreError
from agent.memory.adapters import CARD, served_name
from agent.memory.distillation import Trained
from agent.memory.job import Job, Report, Turnstile
from agent.memory.learning import Candidate, Study
from agent.memory.synthesis import Synthesis
from tests.talking import FACT, tell, until


@pytest.fixture
def agent(make_agent, tiny_model):
    return make_agent(
        tiny_model,
        question_rounds=1,
        use_question_bank=False,
        max_context_tokens=64,
        ask_above_seconds=1e9,
    )


def publish(agent, turns, *, base_hash=None, loudness=0.0):
    """Publish a generation that does nothing, or something loud, as one that knows these turns."""
    number = agent.store.next_generation("ada")
    agent.model.slots.start_training(None, seed=0)
    for parameter in agent.model.slots.training_parameters():
        parameter.data.add_(loudness)
    agent.store.publish(
        "ada", number, agent.model.slots.trained_tensors(), config={},
        card={"base_hash": base_hash or agent.model.base_hash},
    )  # fmt: skip
    fence = agent.buffer.leases.take("ada", "test", seconds=1)
    agent.buffer.publish("ada", fence, turn_ids=[turn.id for turn in turns], generation=number, report={})  # fmt: skip
    agent.buffer.leases.release("ada", fence)
    return number


def test_nothing_is_learned_before_the_user_goes_quiet(agent, clock):
    tell(agent)
    clock.forward(60)
    assert agent.consolidator.run_once() == []
    clock.forward(1)
    (report,) = agent.consolidator.run_once()
    assert report.reason == "nothing to learn"
    assert agent.buffer.pending("ada") == []
    assert agent.consolidator.run_once() == []


def test_whoever_asks_need_not_be_quiet(agent):
    tell(agent)
    agent.consolidator.ask("ada")
    assert [report.num_turns for report in agent.consolidator.run_once()] == [1]


def test_a_user_who_never_goes_quiet_is_learned_after_the_longest_wait(agent, clock):
    for _ in range(13):
        tell(agent, "Hi")
        clock.forward(50)
    # The last turn is 50 s old, the first 650 s.
    assert sum(report.num_turns for report in agent.consolidator.run_once()) == 13


def test_much_pending_text_does_not_wait(agent):
    for _ in range(12):
        tell(agent, FACT * 3)
    assert len(agent.consolidator.run_once()) > 1


def test_turns_are_learned_in_slices_that_fit_the_context(agent):
    turns = [tell(agent, FACT * 2) for _ in range(6)]
    size = agent.model.count_tokens(f"User: {FACT * 2}\nYou: Noted!\n")
    reports = agent.consolidator.run("ada")
    in_a_slice = 64 // size
    assert [report.num_turns for report in reports] == [in_a_slice] * (6 // in_a_slice) + (
        [6 % in_a_slice] if 6 % in_a_slice else []
    )
    assert agent.buffer.user("ada").watermark == turns[-1].id


def test_a_cancelled_consolidation_keeps_the_turns_and_is_not_tried_again_by_itself(agent, clock):
    tell(agent)
    clock.forward(61)
    reports = agent.consolidator.run(
        "ada", on_progress=lambda progress: agent.consolidator.cancel("ada")
    )
    assert [report.published for report in reports] == [False]
    assert "cancelled" in reports[0].reason
    assert len(agent.buffer.pending("ada")) == 1
    assert agent.buffer.reports("ada")[0]["reason"] == reports[0].reason
    assert agent.buffer.user("ada").lease_by is None
    assert agent.consolidator.run_once() == []
    tell(agent, "And I love westerns.")
    clock.forward(61)
    assert agent.consolidator.run_once()[0].reason == "nothing to learn"


def test_cancelling_stops_all_that_waits_and_nothing_of_it_is_tried_again(agent, clock):
    for _ in range(6):
        tell(agent, FACT * 2)
    clock.forward(61)
    reports = agent.consolidator.run(
        "ada", on_progress=lambda progress: agent.consolidator.cancel("ada")
    )
    assert len(reports) == 1
    assert len(agent.buffer.pending("ada")) == 6
    assert agent.consolidator.run_once() == []


def test_a_cancel_at_the_end_of_a_slice_holds_for_the_next(agent, monkeypatch):
    for _ in range(6):
        tell(agent, FACT * 2)
    real = agent.buffer.skip

    def then_cancelled(*arguments, **options):
        real(*arguments, **options)
        assert agent.consolidator.cancel("ada")

    monkeypatch.setattr(agent.buffer, "skip", then_cancelled)
    first, second = agent.consolidator.run("ada")
    assert first.reason == "nothing to learn"
    assert "cancelled" in second.reason
    assert not agent.consolidator.cancel("ada")


def test_a_generation_that_the_database_did_not_take_is_not_left_on_disk(agent, monkeypatch):
    turn = tell(agent)
    consolidation = agent.consolidator._consolidation
    agent.model.slots.start_training(None, seed=0)
    trained = Trained(1, 1, 0.0, (0.0,))
    candidate = Candidate(agent.model.slots.trained_tensors(), trained, None)
    report = Report("ada", 1, True, "it passed its probe", 1)
    material = Synthesis("", "", {}, [], [], num_doubtful=0, teacher_agreement=None)
    job = Job("ada", Turnstile(), cancelled=threading.Event())

    def full(*arguments, **options):
        assert agent.store.card("ada", 1)["stage_seconds"]
        raise StoreError("The disk is full.")

    monkeypatch.setattr(agent.buffer, "publish", full)
    with pytest.raises(StoreError):
        consolidation._publish(report, Study(material, [], [], []), candidate, [turn], 1, job)
    assert agent.store.generations("ada") == []


def test_what_the_model_is_not_sure_of_stays_in_the_prompt(agent):
    turn = tell(agent)
    fence = agent.buffer.leases.take("ada", "test", seconds=60)
    material = Synthesis("", "", {}, [], [], num_doubtful=1, teacher_agreement=None)
    report = agent.consolidator._consolidation._nothing_to_learn(
        agent.buffer.user("ada"),
        [turn],
        fence,
        Study(material, [], [], []),
        Job("ada", Turnstile(), cancelled=threading.Event()),
    )
    assert "not sure" in report.reason
    assert [waiting.id for waiting in agent.buffer.pending("ada")] == [turn.id]


def test_a_slice_that_fails_twice_is_set_aside_and_the_next_goes_on(agent, monkeypatch):
    turns = [tell(agent, FACT * 2) for _ in range(6)]

    def doubts_the_first(model, slice_turns, **options):
        is_first = slice_turns[0].id == turns[0].id
        return Synthesis("", "", {}, [], [], num_doubtful=int(is_first), teacher_agreement=None)

    monkeypatch.setattr("agent.memory.learning.synthesize", doubts_the_first)
    reports = agent.consolidate("ada")
    assert ["not sure" in report.reason for report in reports[:3]] == [True, True, False]
    waiting = agent.buffer.pending("ada")
    assert len(waiting) == reports[0].num_turns
    assert all(turn.is_unlearned for turn in waiting)
    assert not agent.consolidator.run_once()
    assert len(agent.consolidate("ada")) == 2  # asked for, it is tried again


def test_an_unexpected_error_is_reported_by_its_kind_and_keeps_the_turns(agent, caplog):
    tell(agent, "Wuthering is my secret word.")
    agent.consolidator._consolidation.learner.bank = None  # as a programming error would
    (report,) = agent.consolidator.run("ada")
    assert "unexpected AttributeError" in report.reason
    assert len(agent.buffer.pending("ada")) == 1
    assert "Wuthering" not in report.reason


def test_a_user_forgotten_in_the_middle_stays_forgotten(agent):
    tell(agent)
    agent.consolidator.run("ada", on_progress=lambda progress: agent.forget("ada"))
    assert agent.buffer.user("ada") is None
    assert agent.buffer.turns("ada") == []


def test_an_adapter_of_another_base_is_learned_again_turn_by_turn(agent):
    turns = [tell(agent, FACT * 2) for _ in range(6)]
    publish(agent, turns[:3], base_hash="f" * 64)
    publish(agent, turns[3:], base_hash="f" * 64)
    reports = agent.consolidator.run("ada")
    assert sum(report.num_turns for report in reports) == 6
    assert agent.buffer.user("ada").live_generation == 0
    assert agent.store.generations("ada") == [1, 2]  # of the other base: it may come back


def test_taking_back_a_learned_turn_goes_back_to_the_generation_before_it(agent, clock):
    first, second, third = (tell(agent, text) for text in ("I am Ada.", "I live in Oslo.", "Hi"))
    for turn in (first, second, third):
        publish(agent, [turn])
    agent.buffer.retract(second.id)
    clock.forward(61)
    reports = agent.consolidator.run_once()
    # The third turn is learned again, on top of what knew only the first.
    assert [report.num_turns for report in reports] == [1]
    assert agent.buffer.user("ada").live_generation == 1
    assert agent.store.generations("ada") == [1]
    assert {turn.id: turn.learned_in for turn in agent.buffer.turns("ada")} == {
        first.id: 1,
        third.id: 0,
    }
    assert agent.consolidator.run_once() == []


def test_a_turn_taken_back_is_not_forgotten_while_its_weights_cannot_be_deleted(agent, monkeypatch):
    first, second = tell(agent, "I am Ada."), tell(agent, "I live in Oslo.")
    for turn in (first, second):
        publish(agent, [turn])
    agent.buffer.retract(second.id)

    def refuse(*arguments):
        raise AdapterError("It cannot be deleted.")

    with monkeypatch.context() as locked:
        locked.setattr(agent.store, "delete_after", refuse)
        (report,) = agent.consolidator.run("ada")
    assert report.reason == "It cannot be deleted."
    assert agent.store.generations("ada") == [1, 2]
    agent.consolidator.run("ada")
    assert agent.store.generations("ada") == [1]


def test_a_number_that_is_given_again_is_not_answered_with_the_weights_that_had_it(agent):
    first, second = tell(agent, "I am Ada."), tell(agent, "I live in Oslo.")
    publish(agent, [first])
    taken_back = publish(agent, [second], loudness=0.5)
    assert loudness_of(agent, taken_back) > 0.4
    agent.buffer.retract(second.id)
    agent.consolidator.run("ada")
    third = tell(agent, "I live in Turin.")
    assert publish(agent, [third], loudness=-0.5) == taken_back
    assert loudness_of(agent, taken_back) < -0.4


def loudness_of(agent, generation):
    """Return the mean weight of the slot that a reply of this generation would use."""
    name = served_name("ada", generation)

    def load():
        return agent.store.load("ada", generation, base_hash=agent.model.base_hash)

    with agent.model.slots.adapter(name, load) as held:
        slot = next(slot for slot in agent.model.slots._slots if slot.name == held)
        return torch.cat([weight.flatten() for weight in slot.weights.values()]).mean().item()


def test_taking_back_small_talk_harms_no_generation(agent, clock):
    publish(agent, [tell(agent, "I am Ada.")])
    thanks = tell(agent, "Thanks!")
    assert agent.consolidator.run("ada")[0].reason == "nothing to learn"
    agent.buffer.retract(thanks.id)
    clock.forward(61)
    assert agent.consolidator.run_once() == []
    assert agent.store.generations("ada") == [1]


def test_a_full_disk_stops_nobody_for_good(agent, caplog, monkeypatch):
    """Neither the turn nor the report on the failure can be written; later they can."""
    tell(agent)
    agent.consolidator.ask("ada")

    def full(*arguments, **options):
        raise StoreError("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(agent.buffer.leases, "take", full)
        broken.setattr(agent.buffer, "add_report", full)
        (report,) = agent.consolidator.run_once()
    assert report.reason == "The disk is full."
    assert "could not be kept" in caplog.text
    agent.consolidator.ask("ada")
    assert agent.consolidator.run_once()[0].reason == "nothing to learn"


def test_the_thread_outlives_a_database_that_cannot_be_read_for_a_moment(agent, monkeypatch):
    tell(agent)
    agent.consolidator.ask("ada")
    real, tries = agent.buffer.all_users, []

    def at_first_unreadable():
        tries.append(1)
        if len(tries) == 1:
            raise StoreError("The folder cannot be read.")
        return real()

    monkeypatch.setattr(agent.buffer, "all_users", at_first_unreadable)
    agent.start()
    until(lambda: not agent.buffer.pending("ada"))
    agent.consolidator.stop()
    assert agent.buffer.pending("ada") == []


def test_the_thread_outlives_what_nobody_expected(agent, monkeypatch, caplog):
    monkeypatch.setattr("agent.memory.consolidator.PAUSE", 0.01)
    learner = agent.consolidator._consolidation.learner
    real, tries = learner.prepare, []

    def at_first_broken(job):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("something new")
        real(job)

    monkeypatch.setattr(learner, "prepare", at_first_broken)
    tell(agent)
    agent.consolidator.ask("ada")
    agent.start()
    until(lambda: not agent.buffer.pending("ada"))
    agent.consolidator.stop()
    assert agent.buffer.pending("ada") == []
    assert "something new" in caplog.text


def test_what_is_the_same_for_all_users_is_asked_before_anybody_waits(agent):
    agent.start()
    replies = agent.consolidator._consolidation.learner.unrelated._replies
    until(lambda: len(replies) == 2)
    agent.consolidator.stop()
    assert set(replies) == {"trained", "measured"}


def test_a_damaged_generation_is_made_again(agent):
    first, second = tell(agent, "I am Ada."), tell(agent, "I live in Oslo.")
    publish(agent, [first])
    publish(agent, [second])
    (agent.store.path("ada", 2) / CARD).write_text("{")
    (report,) = agent.consolidator.run("ada")
    assert report.num_turns == 1
    assert agent.buffer.user("ada").live_generation == 1


def test_a_long_consolidation_asks_first_and_goes_ahead_when_asked_again(
    make_agent, tiny_model, clock
):
    agent = make_agent(
        tiny_model, question_rounds=1, use_question_bank=False, ask_above_seconds=1e-6
    )
    tell(agent)
    clock.forward(61)
    (report,) = agent.consolidator.run_once()
    assert "ask again" in report.reason
    assert len(agent.buffer.pending("ada")) == 1
    assert agent.consolidator.run_once() == []
    agent.consolidator.ask("ada")
    (report,) = agent.consolidator.run_once()
    assert report.reason == "nothing to learn"


def test_the_estimate_leaves_no_gradient_behind(agent):
    turn = tell(agent)
    assert agent.consolidator._consolidation.estimate_seconds([turn]) > 0
    assert all(parameter.grad is None for parameter in agent.model.slots.training_parameters())


def test_no_adapter_tensor_is_shared_between_a_generation_and_the_training_slot(agent):
    agent.model.slots.start_training(None, seed=0)
    kept = agent.model.slots.trained_tensors()
    before = {name: tensor.clone() for name, tensor in kept.items()}
    for parameter in agent.model.slots.training_parameters():
        parameter.data.add_(1.0)
    assert all(torch.equal(kept[name], before[name]) for name in kept)
