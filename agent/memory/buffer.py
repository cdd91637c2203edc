"""The experience buffer: every turn of every user, in SQL.

A *turn* is one message with its reply. It is written when the reply ends or is stopped, and from
then on it is either **pending** (in no published generation: it stays in the prompt) or learned
(`learned_in` names the generation). Counting by turn, and not by the watermark alone, lets a
slice that failed twice be set aside while later turns go on, and makes a turn pending again by
itself when the live generation falls behind the one that knew it (roll back, another base).

Only *forget* deletes; undo and retry *retract* a turn, which then is neither shown to the model
nor learned.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from agent.errors import StoreError
from agent.memory.database import Database
from agent.memory.folder import check_user_id
from agent.memory.leases import Leases
from agent.memory.tables import (
    StoredPair,
    Turn,
    User,
    pair_row,
    pairs,
    reports,
    turns,
    users,
)


class ExperienceBuffer:
    """Append-only log of turns, with what has been learned from them.

        with ExperienceBuffer(Path("memory_logs/experience.db")) as buffer:
            turn = buffer.append("alice", "s1", message="I loved Alien.", reply="Noted!")
            buffer.pending("alice")                                  # [turn]

    Promises:
        1. A turn that `append` returned survives a crash.
        2. `publish` is one transaction: turns, pairs, report and live generation move together.
        3. A worker whose lease was taken over, or whose user was forgotten, publishes nothing.

    Threads: all methods may be called from any thread; writes are serialised by SQLite
    (`BEGIN IMMEDIATE`), which is held for one method at a time, never while a model runs.

    Processes: one at a time, held by a file lock on the folder (`MovieAgent`); `read_only`
    opens beside it.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path, self._now = path, now
        if read_only and not os.path.exists(path):  # which, unlike its namesake, never raises
            raise StoreError(
                f"No experience buffer at {path}: nothing was ever said here. Check --data-dir."
            )
        self._database = Database(path, read_only=read_only)
        self.leases = Leases(self._database, now)

    def __enter__(self) -> "ExperienceBuffer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # -- users -----------------------------------------------------------------

    def user(self, user_id: str) -> User | None:
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(users).where(users.c.user_id == user_id)
            ).one_or_none()
        return User(**row._mapping) if row else None

    def all_users(self) -> list[User]:
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(users).order_by(users.c.user_id)).all()
        return [User(**row._mapping) for row in rows]

    def ensure_user(self, user_id: str, display_name: str | None = None) -> User:
        """Return the user, made now if new; a `display_name` replaces the one before."""
        check_user_id(user_id)
        with self._database.writing() as connection:
            connection.execute(
                sa.dialects.sqlite.insert(users)
                .values(
                    user_id=user_id,
                    display_name=display_name or user_id,
                    head=0,
                    watermark=0,
                    live_generation=0,
                    fence=0,
                )
                .on_conflict_do_nothing()
            )
            if display_name is not None:
                connection.execute(
                    users.update()
                    .where(users.c.user_id == user_id)
                    .values(display_name=display_name)
                )
            row = connection.execute(sa.select(users).where(users.c.user_id == user_id)).one()
        return User(**row._mapping)

    # -- turns -----------------------------------------------------------------

    def append(
        self, user_id: str, session_id: str, *, message: str, reply: str, is_partial: bool = False
    ) -> Turn:
        """Write a turn and return it.

        Raises:
            StoreError: If it could not be written (disk full, folder read-only). The caller still
                has the text and must say so.
        """
        self.ensure_user(user_id)
        with self._database.writing() as connection:
            row = connection.execute(
                turns.insert()
                .values(
                    user_id=user_id, session_id=session_id, message=message, reply=reply,
                    created_at=self._now(), is_partial=is_partial, rejections=0,
                )
                .returning(turns)
            ).one()  # fmt: skip
            connection.execute(users.update().where(users.c.user_id == user_id).values(head=row.id))
        return Turn(**row._mapping)

    def turns(
        self, user_id: str, *, session_id: str | None = None, with_retracted: bool = False
    ) -> list[Turn]:
        """Return the user's turns, oldest first."""
        query = sa.select(turns).where(turns.c.user_id == user_id).order_by(turns.c.id)
        if session_id is not None:
            query = query.where(turns.c.session_id == session_id)
        if not with_retracted:
            query = query.where(turns.c.retracted_at.is_(None))
        with self._database.reading() as connection:
            return [Turn(**row._mapping) for row in connection.execute(query)]

    def pending(self, user_id: str, *, live_generation: int | None = None) -> list[Turn]:
        """Return the turns that the live generation does not know, oldest first, unlearned ones
        included: what must stay in the prompt.

        `live_generation` overrides the stored one: 0 says that no adapter can be used.
        """
        user = self.user(user_id)
        if user is None:
            return []
        live = user.live_generation if live_generation is None else live_generation
        unknown = turns.c.learned_in.is_(None) | (turns.c.learned_in > live)
        query = (
            sa.select(turns)
            .where(turns.c.user_id == user_id, turns.c.retracted_at.is_(None), unknown)
            .order_by(turns.c.id)
        )
        with self._database.reading() as connection:
            return [Turn(**row._mapping) for row in connection.execute(query)]

    def retract(self, turn_id: int) -> Turn | None:
        """Mark a turn as taken back; return it as it was, None if it is gone or was taken back."""
        with self._database.writing() as connection:
            row = connection.execute(
                sa.select(turns).where(turns.c.id == turn_id, turns.c.retracted_at.is_(None))
            ).one_or_none()
            connection.execute(
                turns.update().where(turns.c.id == turn_id).values(retracted_at=self._now())
            )
        return Turn(**row._mapping) if row else None

    def retry(self, user_id: str) -> None:
        """Let the consolidator try the unlearned turns again."""
        with self._database.writing() as connection:
            connection.execute(
                turns.update().where(turns.c.user_id == user_id).values(rejections=0)
            )

    # -- the consolidator's side -------------------------------------------------

    def publish(
        self,
        user_id: str,
        fence: int,
        *,
        turn_ids: Sequence[int],
        generation: int,
        new_pairs: Iterable[StoredPair] = (),
        rehearsed: Sequence[int] = (),
        superseded: Sequence[int] = (),
        report: dict,
    ) -> bool:
        """Make `generation` live and mark what it knows, in one transaction.

        Returns False, having changed nothing, if the fence has moved on (promise 3), or one of the
        turns was taken back meanwhile.
        """
        with self._database.writing() as connection:
            taken_back = connection.execute(
                sa.select(turns.c.id).where(
                    turns.c.id.in_(turn_ids), turns.c.retracted_at.is_not(None)
                )
            ).first()
            if taken_back is not None:
                return False
            moved = connection.execute(
                users.update()
                .where(users.c.user_id == user_id, users.c.fence == fence)
                .values(
                    live_generation=generation,
                    watermark=sa.func.max(users.c.watermark, max(turn_ids, default=0)),
                )
            )
            if moved.rowcount == 0:
                return False
            connection.execute(
                turns.update().where(turns.c.id.in_(turn_ids)).values(learned_in=generation)
            )
            if rows := [pair_row(pair) for pair in new_pairs]:
                connection.execute(pairs.insert(), rows)
            connection.execute(
                pairs.update().where(pairs.c.id.in_(rehearsed)).values(rehearsed_in=generation)
            )
            connection.execute(
                pairs.update()
                .where(pairs.c.id.in_(superseded))
                .values(status="superseded", superseded_by=generation)
            )
            self._insert_report(connection, user_id, generation, report)
        return True

    def skip(self, user_id: str, fence: int, *, turn_ids: Sequence[int], report: dict) -> None:
        """Mark turns that hold nothing to learn as done with: no generation knows them."""
        with self._database.writing() as connection:
            moved = connection.execute(
                users.update()
                .where(users.c.user_id == user_id, users.c.fence == fence)
                .values(watermark=sa.func.max(users.c.watermark, max(turn_ids, default=0)))
            )
            if moved.rowcount:
                connection.execute(
                    turns.update().where(turns.c.id.in_(turn_ids)).values(learned_in=0)
                )
                self._insert_report(connection, user_id, None, report)

    def reject(self, user_id: str, fence: int, *, turn_ids: Sequence[int], report: dict) -> None:
        """Record that a slice failed its gate: the old generation stays, the turns stay pending."""
        with self._database.writing() as connection:
            row = connection.execute(
                sa.select(users.c.user_id).where(users.c.user_id == user_id, users.c.fence == fence)
            ).one_or_none()
            if row is None:
                return
            connection.execute(
                turns.update()
                .where(turns.c.id.in_(turn_ids))
                .values(rejections=turns.c.rejections + 1)
            )
            self._insert_report(connection, user_id, None, report)

    def add_report(self, user_id: str, report: dict) -> None:
        with self._database.writing() as connection:
            self._insert_report(connection, user_id, None, report)

    def reports(self, user_id: str, *, last: int = 20) -> list[dict]:
        """Return the newest reports, newest first."""
        query = (
            sa.select(reports)
            .where(reports.c.user_id == user_id)
            .order_by(reports.c.id.desc())
            .limit(last)
        )
        with self._database.reading() as connection:
            return [row.report for row in connection.execute(query)]

    def published(self, user_id: str) -> set[int]:
        """Return the numbers of all generations that were ever live."""
        query = sa.select(reports.c.generation).where(reports.c.user_id == user_id)
        with self._database.reading() as connection:
            return {row.generation for row in connection.execute(query)} - {None}

    def pairs(
        self, user_id: str, *, is_probe: bool | None = None, with_corrected: bool = False
    ) -> list[StoredPair]:
        """Return the live pairs, least recently rehearsed first; `with_corrected` those too that
        later turns have corrected, but none of a generation that was taken back."""
        is_wanted = pairs.c.status == "live"
        if with_corrected:
            is_wanted |= pairs.c.superseded_by.is_not(None)
        query = sa.select(pairs).where(pairs.c.user_id == user_id, is_wanted)
        if is_probe is not None:
            query = query.where(pairs.c.is_probe == is_probe)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(pairs.c.rehearsed_in, pairs.c.id)).all()
        return [
            StoredPair(**(row._asdict() | {"source_turn_ids": tuple(row.source_turn_ids)}))
            for row in rows
        ]

    def roll_back(self, user_id: str, generation: int) -> None:
        """Point the user at an earlier generation: what later ones knew is pending again, and their
        pairs wait to be made anew."""
        with self._database.writing() as connection:
            mine = turns.c.user_id == user_id
            connection.execute(
                turns.update()
                .where(mine, turns.c.learned_in > generation)
                .values(learned_in=None, rejections=0)
            )
            connection.execute(
                pairs.update()
                .where(pairs.c.user_id == user_id, pairs.c.generation > generation)
                .values(status="superseded", superseded_by=None)
            )
            connection.execute(
                pairs.update()
                .where(pairs.c.user_id == user_id, pairs.c.superseded_by > generation)
                .values(status="live", superseded_by=None)
            )
            learned = (
                sa.select(sa.func.coalesce(sa.func.max(turns.c.id), 0))
                .where(mine, turns.c.learned_in.is_not(None))
                .scalar_subquery()
            )
            connection.execute(
                users.update()
                .where(users.c.user_id == user_id)
                .values(live_generation=generation, watermark=learned)
            )

    # -- forgetting ----------------------------------------------------------------

    def forget(self, user_id: str) -> int:
        """Erase everything of a user from the file, not only from the tables; return how many
        turns there were. A running consolidation of the user publishes nothing any more: the row
        that holds its fence is gone.

        Raises:
            StoreError: If the file could not be cleaned (no room for a copy, or it is being read).
        """
        with self._database.writing() as connection:
            number = connection.execute(turns.delete().where(turns.c.user_id == user_id)).rowcount
            for table in (pairs, reports, users):
                connection.execute(table.delete().where(table.c.user_id == user_id))
        self._database.clean()
        return number

    # -- inside ----------------------------------------------------------------------

    def _insert_report(
        self, connection: sa.Connection, user_id: str, generation: int | None, report: dict
    ) -> None:
        connection.execute(
            reports.insert().values(
                user_id=user_id, generation=generation, created_at=self._now(),
                report=json.loads(json.dumps(report)),
            )
        )  # fmt: skip
