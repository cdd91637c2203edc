"""What happens on each event, without Gradio: plain functions and generators, easy to test."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.errors import AgentError
from agent.memory.folder import user_id_of
from ui.desk import Answering, Desk, History, Message
from ui.panels import as_text, cost_line, number_of


@dataclass(frozen=True)
class Page:
    """One open page: who talks, in which chat. Nobody, until the browser has opened it."""

    user_id: str = ""
    display_name: str = ""
    session_id: str = ""


Update = tuple[History | None, str, str | None]
"""The chat, the line below it, the text of the message box; None leaves what is there."""


def open_page() -> Page:
    return Page("guest", "guest", uuid.uuid4().hex)


def choose_name(desk: Desk, page: Page, name: str) -> Page:
    """Return the page for a name as typed; its chat is new.

    Raises:
        ConfigError: If it cannot be a name.
    """
    user_id = user_id_of(name)
    desk.agent.buffer.ensure_user(user_id, name.strip())
    return replace(new_chat(desk, page), user_id=user_id, display_name=name.strip())


def new_chat(desk: Desk, page: Page) -> Page:
    desk.leave(page.session_id)
    return replace(page, session_id=uuid.uuid4().hex)


def reply(desk: Desk, page: Page, message: str, *, memory: bool) -> Iterator[Update]:
    """Yield what the page shows while the reply grows. A stopped reply keeps what it had, as a
    partial turn; a message that could not be answered goes back into the box."""
    if not page.user_id:
        yield None, "The app was started anew since this page was opened. Reload it.", message
        return
    chat = desk.chat(page.session_id)
    chat.answering.leave()  # one reply at a time
    chat.answering = answering = Answering()
    shown = [*chat.history, Message(role="user", content=message)]
    try:
        yield shown, "…" if desk.is_ready else "The model is being loaded, a few seconds.", ""
        mode = "on" if memory else "off"
        answer = desk.agent.reply(page.user_id, page.session_id, message, memory=mode)
        if not answering.begin(answer):
            if answering.is_shown:
                yield chat.history, "Stopped before it began; nothing was kept.", message
            return
        for _ in answer:
            if answering.is_shown:
                yield [*shown, Message(role="assistant", content=answer.text)], "…", None
        chat.turn_ids.append(answer.turn.id if answer.turn else None)
        chat.history = [*shown, Message(role="assistant", content=answer.text or "…")]
        if answering.is_shown:
            line = cost_line(answer, memory=memory, is_stopped=answering.is_stopped)
            yield chat.history, line, None
    except AgentError as error:
        if answering.is_shown:
            yield chat.history, as_text(str(error)), message
    finally:
        answering.ended.set()


def stop(desk: Desk, page: Page) -> None:
    """End the reply on its way at its next token."""
    desk.chat(page.session_id).answering.stop()


def take_back(desk: Desk, page: Page, index: int) -> tuple[History, str, str]:
    """Retract the turn whose user message is at `index`, and all after it; return the history
    before it, what to say below it, and the message, to be said again or changed.

    Raises:
        AgentError: If it is not there any more.
    """
    chat = desk.chat(page.session_id)
    chat.answering.leave()
    if index >= len(chat.history):
        raise AgentError("This chat has changed since; nothing was taken back.")
    message = chat.history[index]["content"]
    number = index // 2
    turn_ids = [turn_id for turn_id in chat.turn_ids[number:] if turn_id is not None]
    taken = [desk.agent.buffer.retract(turn_id) for turn_id in turn_ids]
    chat.history, chat.turn_ids = chat.history[:index], chat.turn_ids[:number]
    line = "Taken back: it will not be learned."
    if any(turn is not None and turn.learned_in for turn in taken):
        line = "Taken back. It was learned already, and is unlearned when you have been quiet."
    return chat.history, line, message


def say_again(desk: Desk, page: Page, index: int, *, memory: bool) -> Iterator[Update]:
    """Retract the turn whose user message is at `index`, and reply to it anew."""
    try:
        _, _, message = take_back(desk, page, index)
    except AgentError as error:
        yield None, as_text(str(error)), None
        return
    yield from reply(desk, page, message, memory=memory)


def consolidate(desk: Desk, page: Page) -> None:
    """Ask for a consolidation now, of what could not be learned too; the panel shows it."""
    desk.agent.consolidator.ask(page.user_id)


def cancel(desk: Desk, page: Page) -> None:
    desk.agent.consolidator.cancel(page.user_id)


def forget(desk: Desk, page: Page) -> tuple[Page, History, str]:
    """Erase the user; return a new page, an empty history, and what was erased."""
    agent, fresh = desk.agent, new_chat(desk, page)
    num_turns, num_generations = agent.forget(page.user_id)
    erased = f"{number_of(num_turns, 'turn')} and {number_of(num_generations, 'generation')}"
    return fresh, [], f"Erased {erased} of {as_text(page.display_name)}."
