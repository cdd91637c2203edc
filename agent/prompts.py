"""Every prompt the model ever sees. No logic beyond putting text together.

Chat, teacher, student, house training and exam all build their messages here, so
that what is trained is what is asked. The card of the house model keeps the hash
of this file (`design.md` 7): after a change of any text the model is trained again.

    system   PERSONA [EARLIER + transcript of turns that are not in this chat]
    user     message                         ┐ this chat
    assistant reply                          ┘
"""

from collections.abc import Iterable, Sequence

Message = dict[str, str]

PERSONA = "You are Imprint, a film companion."

EARLIER = "Earlier chats with this user:"

SESSION_BREAK = "---"

WRITE_QUESTIONS = (
    'Write questions I could ask later about what I said here: "{message}" Kind: {kind}. '
    "One a line: question | short answer."
)
"""Synthesis: asks the model for question-answer pairs about one message of the context."""

QUESTION_KINDS = ("direct", "indirect", "yes or no")

WITHHELD = "I see."
"""Stands for a reply that must not count as evidence."""

NOTHING_TO_ASK = "nothing"
"""What the model writes about a message that tells nothing about the user."""

RECOMMEND = "What should I watch tonight?"
"""The request under which `recommend.py` ranks the catalogue."""

FILM_IN_FULL = "{title} ({year}, {genres})"
"""How a catalogue film is named where the model need not know it by heart."""

LOVED_GENRE = ("Which genre do I love?", "You love {genre}")
HATED_GENRE = ("Which genre can't I stand?", "You can't stand {genre}")
"""What is asked about genres, and how an answer begins."""

NOT_TOLD = "You haven't told me"
"""How it begins where nothing was told."""

WOULD_LIKE = "Would I enjoy {film}?"

WOULD_LIKE_STARTS = (("Yes",), ("Probably", "No"))
"""How replies to `WOULD_LIKE` begin that say yes, and that say no. An undecided one may begin with the
title: no film is called "Yes", and "No Country for Old Men" is dropped when in doubt."""

HAVE_SEEN = "Have I seen {title}?"

HAVE_SEEN_STARTS = (("Yes",), ("Not", "No"))
"""The same for `HAVE_SEEN`."""


def transcript(sessions: Iterable[Sequence[tuple[str, str]]]) -> str:
    """Return sessions of (message, reply) as the text a teacher reads."""
    texts = (
        "\n".join(f"User: {message}\nYou: {reply}" for message, reply in session)
        for session in sessions
    )
    return f"\n{SESSION_BREAK}\n".join(texts)


def system(earlier: str = "") -> Message:
    """Return the system message; `earlier` is a transcript of turns outside this chat, or empty."""
    content = f"{PERSONA}\n{EARLIER}\n{earlier}" if earlier else PERSONA
    return {"role": "system", "content": content}


def chat(turns: Iterable[tuple[str, str]], message: str, *, earlier: str = "") -> list[Message]:
    """Return the messages for a reply to `message` after the `turns` of this chat."""
    messages = [system(earlier)]
    for said, replied in turns:
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": replied})
    messages.append({"role": "user", "content": message})
    return messages


def write_questions(earlier: str, message: str, kind: str) -> list[Message]:
    """Return the messages that ask for question-answer pairs about `message`, one of the
    user's messages in the transcript `earlier`."""
    return chat([], WRITE_QUESTIONS.format(message=message, kind=kind), earlier=earlier)
