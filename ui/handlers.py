"""What happens on each event, without Gradio: plain functions and generators, easy to test.

A page's state is a `Page`: who talks, in which chat. The history that the browser sends back is
only shown; which turn a message belongs to is kept in `turn_ids`, in the order of the messages.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypedDict

from agent.errors import AgentError
from agent.memory.folder import user_id_of
from ui.desk import Desk
from ui.panels import cost_line


class Message(TypedDict):
    role: str
    content: str


History = list[Message]


@dataclass(frozen=True)
class Page:
    """One open page: the user, the chat, and the turn of each message in it."""

    user_id: str = "guest"
    display_name: str = "guest"
    session_id: str = ""
    turn_ids: tuple[int | None, ...] = field(default=())


def open_page() -> Page:
    return Page(session_id=uuid.uuid4().hex)


def choose_name(desk: Desk, name: str) -> Page:
    """Return a page for a name as typed; its chat is new.

    Raises:
        ConfigError: If it cannot be a name.
    """
    user_id = user_id_of(name)
    desk.agent.buffer.ensure_user(user_id, name.strip())
    return Page(user_id, name.strip(), uuid.uuid4().hex)


def new_chat(page: Page) -> Page:
    return replace(page, session_id=uuid.uuid4().hex, turn_ids=())


def reply(
    desk: Desk, page: Page, message: str, history: History, *, memory: bool
) -> Iterator[tuple[Page, History, str]]:
    """Yield (page, history, line below the chat) again and again while the reply grows.

    A stopped reply keeps what it had, as a partial turn. `history` is not changed.
    """
    shown = [*plain(history), Message(role="user", content=message)]
    if not desk.is_ready:
        yield page, shown, "The model is being loaded, a few seconds."
    try:
        answer = desk.agent.reply(
            page.user_id, page.session_id, message, memory="on" if memory else "off"
        )
        yield page, shown, "…"
        for _ in answer:
            yield page, [*shown, Message(role="assistant", content=answer.text)], "…"
    except AgentError as error:
        yield page, plain(history), str(error)
        return
    turn_id = answer.turn.id if answer.turn else None
    whole = [*shown, Message(role="assistant", content=answer.text or "…")]
    yield replace(page, turn_ids=(*page.turn_ids, turn_id)), whole, cost_line(answer)


def after_stop(desk: Desk, page: Page, history: History) -> tuple[Page, History]:
    """Return the page once a reply was stopped: the partial turn has been kept by then."""
    num_messages = sum(message["role"] == "user" for message in history)
    if num_messages == len(page.turn_ids):
        return page, plain(history)
    kept = [turn.id for turn in desk.agent.buffer.turns(page.user_id, session_id=page.session_id)]
    newest = kept[-1] if kept and kept[-1] not in page.turn_ids else None
    return replace(page, turn_ids=(*page.turn_ids, newest)), plain(history)


def take_back(desk: Desk, page: Page, history: History, index: int) -> tuple[Page, History, str]:
    """Retract the turn whose user message is at `index`, and all after it; return the page, the
    history before it, and the message, to be said again or changed."""
    history = plain(history)
    number = sum(message["role"] == "user" for message in history[:index])
    for turn_id in page.turn_ids[number:]:
        if turn_id is not None:
            desk.agent.buffer.retract(turn_id)
    return (
        replace(page, turn_ids=page.turn_ids[:number]),
        history[:index],
        history[index]["content"],
    )


def consolidate(desk: Desk, page: Page) -> None:
    """Ask for a consolidation now; the panel shows its progress."""
    desk.agent.consolidator.ask(page.user_id)


def cancel(desk: Desk, page: Page) -> None:
    desk.agent.consolidator.cancel(page.user_id)


def forget(desk: Desk, page: Page) -> tuple[Page, History, str]:
    """Erase the user; return a new page, an empty history, and what was erased."""
    num_turns, num_generations = desk.agent.forget(page.user_id)
    return (
        new_chat(page),
        [],
        f"Erased {num_turns} turns and {num_generations} generations of {page.display_name}.",
    )


def plain(history: list) -> History:
    """Return a history with every content as text; Gradio sends content back as a list of parts."""
    return [
        Message(
            role=message["role"],
            content=message["content"]
            if isinstance(message["content"], str)
            else "".join(
                part.get("text", "") for part in message["content"] if isinstance(part, dict)
            ),
        )
        for message in history
    ]
