"""The agent as the page sees it, being loaded, ready, or failed; and the chats of the open pages."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from agent.errors import AgentError
from agent.memory.folder import DataLock
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.movie_agent import MovieAgent, Reply

logger = logging.getLogger(__name__)


class Message(TypedDict):
    role: str
    content: str


History = list[Message]


class Answering:
    """A reply on its way to a page; it can be stopped even before it has begun.

    Threads: all methods may be called from any thread.
    """

    def __init__(self) -> None:
        self.is_stopped = False
        self.is_shown = True
        """False once the page has moved on: what was said is kept, and shown no more."""
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._reply: Reply | None = None

    def begin(self, reply: "Reply") -> bool:
        """Note that this reply is generated from now on; False if it was stopped before."""
        with self._lock:
            if not self.is_stopped:
                self._reply = reply
        return self._reply is not None

    def stop(self) -> None:
        with self._lock:
            self.is_stopped = True
        if self._reply is not None:
            self._reply.stop()

    def leave(self) -> None:
        """Stop, show no more of it, and wait until its turn is kept."""
        self.is_shown = False
        self.stop()
        if self._reply is not None:
            self.ended.wait()


@dataclass
class Chat:
    """A chat of an open page: what it shows, and which turn each user message of it belongs to.
    What the browser sends back is not read."""

    history: History = field(default_factory=list)
    turn_ids: list[int | None] = field(default_factory=list)
    answering: Answering = field(default_factory=Answering)


def _open_agent(settings: Settings, lock: DataLock) -> "MovieAgent":
    from agent.movie_agent import MovieAgent  # seconds of imports: not before the page is up

    return MovieAgent.open(settings, lock=lock)


class Desk:
    """Loads the agent on a thread of its own, so that the page is up before the model is.

    Threads: `agent` may be read from any thread; it waits until the loading has ended.
    """

    def __init__(
        self,
        settings: Settings,
        lock: DataLock,
        *,
        open_agent: Callable[[Settings, DataLock], "MovieAgent"] = _open_agent,
    ) -> None:
        self.settings = settings
        self._lock, self._open_agent = lock, open_agent
        self._agent: MovieAgent | None = None
        self._error: AgentError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._load, name="loading", daemon=True)
        self._chats: dict[str, Chat] = {}

    def __enter__(self) -> "Desk":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()
        if self._agent is not None:
            self._agent.close()

    @property
    def is_ready(self) -> bool:
        return self._ended.is_set()

    @property
    def agent(self) -> "MovieAgent":
        """Return the agent, waiting for it.

        Raises:
            AgentError: If it could not be opened.
        """
        self._ended.wait()
        if self._agent is None:
            raise self._error or AgentError("The agent could not be started; the log says why.")
        return self._agent

    def chat(self, session_id: str) -> Chat:
        return self._chats.setdefault(session_id, Chat())

    def leave(self, session_id: str) -> None:
        """Let go of a chat that its page has left; a reply on its way is kept as far as it got."""
        if chat := self._chats.pop(session_id, None):
            chat.answering.leave()

    def _load(self) -> None:
        try:
            agent = self._open_agent(self.settings, self._lock)
            agent.start()
            self._agent = agent
        except AgentError as error:
            logger.error("%s", error)
            self._error = error
        finally:
            self._ended.set()
