"""MovieAgent: builds the parts, owns their lifetimes, answers."""

import bisect
import logging
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from agent import prompts
from agent.catalogue import Catalogue, Film
from agent.errors import ConfigError, StoreError
from agent.memory.adapters import AdapterStore, served_name
from agent.memory.buffer import ExperienceBuffer
from agent.memory.consolidation import Consolidation
from agent.memory.consolidator import Consolidator
from agent.memory.folder import DataLock, check_user_id, lock_folder
from agent.memory.job import Progress, Report, Turnstile
from agent.memory.tables import Turn
from agent.memory.teacher import transcript_of
from agent.model import LanguageModel
from agent.recommend import Recommendation, recommend
from agent.settings import Settings

logger = logging.getLogger(__name__)

MEMORY_MODES = ("on", "off", "prompt")


class Reply:
    """A reply in the making: iterate for its pieces, then read what it cost.

    The turn is written when the iteration ends, is stopped, or is given up.
    """

    def __init__(
        self,
        pieces: Callable[["Reply"], Iterator[str]],
        *,
        generation: int,
        prompt_tokens: int,
        memory_tokens: int,
    ) -> None:
        self._pieces = pieces
        self.generation = generation
        self.prompt_tokens = prompt_tokens
        self.memory_tokens = memory_tokens
        """Prompt tokens from turns outside this chat, pending ones included."""
        self.text = ""
        self.seconds = 0.0
        self.films: list[Film] = []
        """Films of the catalogue that the reply names, once it has ended."""
        self.notices: list[str] = []
        """What the user must know beside the reply, one sentence each."""
        self.turn: Turn | None = None
        self.is_stopped = False
        self._stop = threading.Event()

    def __iter__(self) -> Iterator[str]:
        return self._pieces(self)

    def stop(self) -> None:
        """End the reply at the next token."""
        self.is_stopped = True
        self._stop.set()


class MovieAgent:
    """A recommender that remembers its users in its weights.

        with MovieAgent.open(settings) as agent:
            for piece in agent.reply("ada", "chat-1", "Hi, I'm Ada."):
                print(piece, end="")

    Promises: a turn shown as answered is on disk; a turn is in the prompt until a generation that
    learned its slice has passed its probe; a reply uses its user's adapter and no other.

    Threads: all methods may be called from any thread; a user's own replies should follow one
    another.
    Processes: one a data folder, held by a file lock.
    """

    def __init__(
        self,
        model: LanguageModel,
        buffer: ExperienceBuffer,
        store: AdapterStore,
        settings: Settings,
        *,
        lock: DataLock | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.model, self.buffer, self.store, self.settings = model, buffer, store, settings
        self.catalogue = Catalogue.load()
        self._lock = lock
        self._turnstile = Turnstile()
        self._erasing = threading.Lock()
        self._num_erased: Counter[str] = Counter()
        """How often a user was forgotten: a reply begun before leaves no turn behind."""
        self.consolidator = Consolidator(
            Consolidation(model, buffer, store, self.catalogue, settings),
            idle_seconds=settings.idle_seconds, max_wait_seconds=settings.max_wait_seconds,
            max_context_tokens=settings.max_context_tokens,
            ask_above_seconds=settings.ask_above_seconds, turnstile=self._turnstile, now=now,
        )  # fmt: skip

    @classmethod
    def open(cls, settings: Settings, *, lock: DataLock | None = None) -> "MovieAgent":
        """Lock the data folder (unless `lock` holds it), open the store, load the model. Nothing
        runs in the background before `start`.

        Raises:
            StoreError: If the folder cannot be used, or another process holds it.
            ModelError: If the base model cannot be loaded.
        """
        lock = lock or lock_folder(settings.data_dir)
        buffer: ExperienceBuffer | None = None
        try:
            buffer = ExperienceBuffer(settings.data_dir / "experience.db")
            store = AdapterStore(settings.data_dir / "adapters")
            buffer.leases.end_all()
            store.remove_drafts()
            _remove_orphans(buffer, store)
            model = LanguageModel.load(
                settings.model, quantize=settings.quantize, num_slots=settings.num_slots,
                lora_rank=settings.lora_rank, lora_alpha=settings.lora_alpha,
            )  # fmt: skip
        except BaseException:
            if buffer is not None:
                buffer.close()
            lock.release()
            raise
        return cls(model, buffer, store, settings, lock=lock)

    def __enter__(self) -> "MovieAgent":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin consolidating in the background."""
        self.consolidator.start()

    def close(self) -> None:
        self.consolidator.stop()
        self.buffer.close()
        if self._lock is not None:
            self._lock.release()

    # -- answering -------------------------------------------------------------------------

    def probe(self, user_id: str, question: str, *, memory: str = "on") -> Reply:
        """Answer a question in a chat of its own, without keeping it; the reply is complete."""
        reply = self.reply(user_id, "", question, memory=memory, is_kept=False)
        "".join(reply)
        return reply

    def reply(
        self,
        user_id: str,
        session_id: str,
        message: str,
        *,
        memory: str = "on",
        is_kept: bool | None = None,
    ) -> Reply:
        """Answer a message; the text comes by iterating.

        Args:
            memory: "on"; "off": the base model, nothing of earlier chats; "prompt": everything
                ever said in the prompt (the ceiling).
            is_kept: Whether the turn is experience; by default only with memory "on", so that
                the other two can be compared without leaving a trace.

        Raises:
            ConfigError: If the message is empty or no text.
        """
        check_user_id(user_id)
        num_erased = self._num_erased[user_id]
        if memory not in MEMORY_MODES:
            raise ConfigError(f"memory is {memory!r}; it must be one of {', '.join(MEMORY_MODES)}.")
        message, notices = self._clean(message)
        live, notice = self.usable_generation(user_id) if memory == "on" else (0, None)
        notices += [notice] if notice else []
        earlier, session = self._prompt_turns(user_id, session_id, memory, live)
        earlier, session, notice = self._fit(earlier, session, message, live)
        notices += [notice] if notice else []
        messages = self._messages(earlier, session, message)
        prompt_tokens = len(self.model.encode(messages))
        without = (
            len(self.model.encode(self._messages([], session, message)))
            if earlier
            else prompt_tokens
        )

        def pieces(reply: Reply) -> Iterator[str]:
            began = time.monotonic()
            is_whole = has_failed = False
            try:
                yield from self._generate(reply, user_id, live, messages)
                is_whole = not reply.is_stopped  # the stream itself sets _stop at its end
            except Exception:  # whoever asked has the message, and sends it again
                has_failed = True
                raise
            finally:
                reply.seconds = time.monotonic() - began
                reply.films = self.catalogue.mentioned(reply.text)
                if not has_failed and (memory == "on" if is_kept is None else is_kept):
                    with self._erasing:
                        if self._num_erased[user_id] == num_erased:
                            self._keep(reply, user_id, session_id, message, is_partial=not is_whole)

        reply = Reply(
            pieces,
            generation=live,
            prompt_tokens=prompt_tokens,
            memory_tokens=prompt_tokens - without,
        )
        reply.notices = notices
        return reply

    def _generate(
        self, reply: Reply, user_id: str, live: int, messages: list[prompts.Message]
    ) -> Iterator[str]:
        name = served_name(user_id, live) if live else None

        def load() -> dict:
            return self.store.load(user_id, live, base_hash=self.model.base_hash)

        def on_wait() -> None:
            reply.notices.append("All memories were in use for a moment; this reply had to wait.")

        with (
            self._turnstile.reply(),
            self.model.slots.adapter(name, load, on_wait=on_wait) as slot,
        ):
            for piece in self.model.stream(
                messages, slot=slot, max_new_tokens=self.settings.max_reply_tokens, stop=reply._stop
            ):
                reply.text += piece
                yield piece

    def _keep(
        self, reply: Reply, user_id: str, session_id: str, message: str, *, is_partial: bool
    ) -> None:
        try:
            reply.turn = self.buffer.append(
                user_id, session_id, message=message, reply=reply.text, is_partial=is_partial
            )
        except StoreError as error:
            reply.notices.append(f"This turn could not be kept. {error}")

    def _clean(self, message: str) -> tuple[str, list[str]]:
        """Return the message as it goes into prompt and buffer, and what to tell about it."""
        text = "".join(
            char
            for char in message
            if char in "\n\t"
            or unicodedata.category(char)[0] != "C"
            or unicodedata.category(char) == "Cf"
        )
        text = text.strip()
        if all(unicodedata.category(char)[0] in "CZ" for char in text):
            raise ConfigError("The message is empty. Type something to talk about.")
        limit = self.settings.max_message_tokens
        ids = self.model.encode_text(text[: limit * 40])
        if len(ids) <= limit and len(text) <= limit * 40:
            return text, []
        kept = self.model.tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False)
        kept = kept.rstrip("\ufffd").strip()  # a character that the limit cut in two
        return kept, [
            f"Your message was longer than {limit} tokens; only its first {len(kept)} characters were read."
        ]

    def usable_generation(self, user_id: str) -> tuple[int, str | None]:
        """Return the generation to answer with, and why it is not the live one, if so."""
        user = self.buffer.user(user_id)
        if user is None or user.live_generation == 0:
            return 0, None
        return self.store.usable(user_id, user.live_generation, base_hash=self.model.base_hash)

    def _prompt_turns(
        self, user_id: str, session_id: str, memory: str, live: int
    ) -> tuple[list[Turn], list[Turn]]:
        """Return the turns of other chats and of this one that the prompt should hold."""
        session = self.buffer.turns(user_id, session_id=session_id) if memory == "on" else []
        if memory == "off":
            return [], []
        if memory == "prompt":
            return self.buffer.turns(user_id), []
        pending = self.buffer.pending(user_id, live_generation=live)
        return [turn for turn in pending if turn.session_id != session_id], session

    def _fit(
        self, earlier: list[Turn], session: list[Turn], message: str, live: int
    ) -> tuple[list[Turn], list[Turn], str | None]:
        """Drop the oldest turns until the prompt fits: of this chat what generation `live` knows,
        then what waits, which the user is told.

        Raises:
            ConfigError: If the message alone does not fit.
        """
        room = self.model.max_context_tokens - self.settings.max_reply_tokens
        waits = [turn for turn in session if turn.learned_in is None or turn.learned_in > live]
        num_learned = len(session) - len(waits)
        order = [turn for turn in session if turn not in waits] + earlier + waits

        def rest(number: int) -> tuple[list[Turn], list[Turn]]:
            dropped = {turn.id for turn in order[:number]}
            return tuple(
                [turn for turn in turns if turn.id not in dropped] for turns in (earlier, session)
            )

        def fits(number: int) -> bool:
            return len(self.model.encode(self._messages(*rest(number), message))) <= room

        number = 0 if fits(0) else bisect.bisect_left(range(len(order) + 1), True, lo=1, key=fits)
        if number > len(order):
            raise ConfigError(
                f"The message does not fit into the {self.model.max_context_tokens} tokens of this model, of which "
                f"{self.settings.max_reply_tokens} are for the reply. Say it in fewer words."
            )
        notice = None
        if number > num_learned:
            notice = (
                f"There is more waiting to be learned than fits into one prompt: what you said at "
                f"{order[number - 1].created_at:%H:%M on %d %B} and before cannot be used until it is learned."
            )
        return *rest(number), notice

    @staticmethod
    def _messages(earlier: list[Turn], session: list[Turn], message: str) -> list[prompts.Message]:
        return prompts.chat(
            [(turn.message, turn.reply) for turn in session],
            message,
            earlier=transcript_of(earlier) if earlier else "",
        )

    # -- memory ----------------------------------------------------------------------------------

    def recommend(
        self, user_id: str, number: int = 5, *, session_id: str | None = None
    ) -> list[Recommendation]:
        """Return films for a user, best first: read from the weights and the current chat alone."""
        live, _ = self.usable_generation(check_user_id(user_id))
        turns = self.buffer.turns(user_id, session_id=session_id) if session_id else []
        longest = max((film.title for film in self.catalogue.films), key=len)
        _, turns, _ = self._fit([], turns, prompts.WOULD_LIKE.format(film=longest * 2), live)
        name = served_name(user_id, live) if live else None
        with (
            self._turnstile.reply(),
            self.model.slots.adapter(
                name, lambda: self.store.load(user_id, live, base_hash=self.model.base_hash)
            ) as slot,
        ):
            return recommend(
                self.model, self.catalogue, slot=slot, number=number,
                ask=lambda question: self._messages([], turns, question),
            )  # fmt: skip

    def consolidate(
        self, user_id: str, *, on_progress: Callable[[Progress], None] = lambda progress: None
    ) -> list[Report]:
        """Learn everything pending now, in this thread; return a report for each slice."""
        self.buffer.retry(check_user_id(user_id))
        return self.consolidator.run(user_id, on_progress=on_progress)

    def forget(self, user_id: str) -> tuple[int, int]:
        """Erase a user: adapters, slots, turns, pairs, reports. Return the numbers of turns and
        generations there were.

        Raises:
            StoreError: If the file of the turns could not be cleaned; all else is gone then.
            AdapterError: If a generation could not be deleted; the turns are all there then.
        """
        check_user_id(user_id)
        self.consolidator.cancel_and_wait(user_id)
        with self._erasing:
            self._num_erased[user_id] += 1
            num_generations = self.store.delete_all(user_id)
            # After the files: a reply that had chosen a generation could load it once more.
            self.model.slots.drop(f"{user_id}@")
            num_turns = self.buffer.forget(user_id)
        return num_turns, num_generations


def _remove_orphans(buffer: ExperienceBuffer, store: AdapterStore) -> None:
    """Delete generations that were written and never made live: their turns wait to be learned, or
    were taken back, and no later number may bring them to life."""
    for user in buffer.all_users():
        for number in set(store.generations(user.user_id)) - buffer.published(user.user_id):
            store.delete(user.user_id, number)
