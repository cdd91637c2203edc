"""The agent as the page sees it: being loaded, ready, or failed."""

import threading
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.memory.folder import DataLock
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.movie_agent import MovieAgent


class Desk:
    """Loads the agent on a thread of its own, so that the page is up before the model is.

    Threads: `agent` may be read from any thread; it waits until the loading has ended.
    """

    def __init__(self, settings: Settings, lock: DataLock) -> None:
        self.settings = settings
        self._lock = lock
        self._agent: MovieAgent | None = None
        self._error: AgentError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._load, name="loading", daemon=True)

    def __enter__(self) -> "Desk":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.wait()
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

    def _load(self) -> None:
        try:
            from agent.movie_agent import (
                MovieAgent,  # seconds of imports: not before the page is up
            )

            agent = MovieAgent.open(self.settings, lock=self._lock)
            agent.start()
            self._agent = agent
        except AgentError as error:
            self._error = error
        finally:
            self._ended.set()
