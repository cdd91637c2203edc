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
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from alembic import command, script
from alembic.config import Config
from alembic.migration import MigrationContext

from agent.errors import ConfigError, StoreError

MIGRATIONS_DIR = Path(__file__).parent / "migrations"

MAX_REJECTIONS = 2
"""A slice rejected so often is set aside as unlearned (`design.md` 6, rule 2)."""


class _UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC datetimes; SQLite keeps no zone, so it is put back on reading."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value else None


metadata = sa.MetaData()

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.String(40), nullable=False),
    sa.Column("session_id", sa.String(64), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("reply", sa.Text, nullable=False),
    sa.Column("created_at", _UtcDateTime, nullable=False),
    sa.Column("is_partial", sa.Boolean, nullable=False),
    sa.Column("retracted_at", _UtcDateTime),
    sa.Column("feedback", sa.String(16)),
    sa.Column("learned_in", sa.Integer),
    sa.Column("rejections", sa.Integer, nullable=False),
    sa.Index("turns_by_user", "user_id", "id"),
    sqlite_autoincrement=True,  # the id of a forgotten turn is never given again
)

pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.String(40), nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("is_probe", sa.Boolean, nullable=False),
    sa.Column("source_turn_ids", sa.JSON, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("rehearsed_in", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("superseded_by", sa.Integer),
    sa.Index("pairs_by_user", "user_id", "status"),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(40), primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("head", sa.Integer, nullable=False),
    sa.Column("watermark", sa.Integer, nullable=False),
    sa.Column("live_generation", sa.Integer, nullable=False),
    sa.Column("lease_by", sa.String(64)),
    sa.Column("lease_until", _UtcDateTime),
    sa.Column("fence", sa.Integer, nullable=False),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.String(40), nullable=False),
    sa.Column("generation", sa.Integer),
    sa.Column("created_at", _UtcDateTime, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Index("reports_by_user", "user_id", "id"),
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message with its reply; a row of `turns`."""

    id: int
    user_id: str
    session_id: str
    message: str
    reply: str
    created_at: datetime
    is_partial: bool
    retracted_at: datetime | None
    feedback: str | None
    learned_in: int | None
    """The generation that knows it; None before, 0 if there was nothing to learn."""
    rejections: int
    """How often a slice with this turn failed its gate."""

    @property
    def is_unlearned(self) -> bool:
        """Was it given up for now? It stays in the prompt, and waits for *retry*."""
        return self.learned_in is None and self.rejections >= MAX_REJECTIONS


@dataclass(frozen=True, slots=True)
class StoredPair:
    """One learned question with its answer; a row of `pairs`. For audit, replay, probes and
    correction: never read to answer."""

    user_id: str
    question: str
    answer: str
    value: str
    kind: str
    is_probe: bool
    source_turn_ids: tuple[int, ...]
    generation: int
    rehearsed_in: int
    """The last generation whose training rehearsed it."""
    status: str = "live"
    superseded_by: int | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A row of `users`: how far the buffer goes, how far the weights go, who is at work."""

    user_id: str
    display_name: str
    head: int
    watermark: int
    live_generation: int
    lease_by: str | None
    lease_until: datetime | None
    fence: int


def check_user_id(user_id: str) -> str:
    """Return `user_id` if it can be one.

    Raises:
        ConfigError: If it is not 1-40 of a-z, 0-9, _ and -. It becomes the name of a folder.
    """
    if not re.fullmatch(r"[a-z0-9_-]{1,40}", user_id):
        shown = user_id if len(user_id) <= 40 else f"{user_id[:40]}… ({len(user_id)} characters)"
        raise ConfigError(
            f"{shown!r} is no user id: it names a folder, so it must be 1 to 40 of a-z, 0-9, _ and -."
        )
    return user_id


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
        self._write_lock = threading.RLock()
        if read_only and not path.exists():
            raise StoreError(
                f"No experience buffer at {path}: nothing was ever said here. Check --data-dir."
            )
        mode = "ro" if read_only else "rwc"
        self._engine = sa.create_engine(
            f"sqlite:///file:{path.absolute().as_posix()}?mode={mode}&uri=true",
            connect_args={"timeout": 30, "check_same_thread": False},
            isolation_level="AUTOCOMMIT" if read_only else None,
        )
        sa.event.listen(self._engine, "connect", _on_connect_reading if read_only else _on_connect)
        sa.event.listen(
            self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
        try:
            self._check_schema(read_only=read_only)
        except (sa.exc.DatabaseError, OSError) as error:
            self._engine.dispose()
            raise StoreError(_explain(path, error)) from error

    def __enter__(self) -> "ExperienceBuffer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    # -- users -----------------------------------------------------------------

    def user(self, user_id: str) -> User | None:
        with self._reading() as connection:
            row = connection.execute(
                sa.select(users).where(users.c.user_id == user_id)
            ).one_or_none()
        return User(**row._mapping) if row else None

    def all_users(self) -> list[User]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(users).order_by(users.c.user_id)).all()
        return [User(**row._mapping) for row in rows]

    def ensure_user(self, user_id: str, display_name: str | None = None) -> User:
        """Return the user, made now if new; a `display_name` replaces the one before."""
        check_user_id(user_id)
        with self._writing() as connection:
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
        with self._writing() as connection:
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
        with self._reading() as connection:
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
        with self._reading() as connection:
            return [Turn(**row._mapping) for row in connection.execute(query)]

    def retract(self, turn_id: int) -> Turn | None:
        """Mark a turn as taken back; return it as it was, None if it is gone or was taken back."""
        with self._writing() as connection:
            row = connection.execute(
                sa.select(turns).where(turns.c.id == turn_id, turns.c.retracted_at.is_(None))
            ).one_or_none()
            connection.execute(
                turns.update().where(turns.c.id == turn_id).values(retracted_at=self._now())
            )
        return Turn(**row._mapping) if row else None

    def set_feedback(self, turn_id: int, feedback: str | None) -> None:
        with self._writing() as connection:
            connection.execute(
                turns.update().where(turns.c.id == turn_id).values(feedback=feedback)
            )

    def retry(self, user_id: str) -> None:
        """Let the consolidator try the unlearned turns again."""
        with self._writing() as connection:
            connection.execute(
                turns.update().where(turns.c.user_id == user_id).values(rejections=0)
            )

    # -- the consolidator's side -------------------------------------------------

    def lease(self, user_id: str, worker: str, *, seconds: float) -> int | None:
        """Take the user for a consolidation and return the fence, None if another worker has it."""
        now = self._now()
        free = (
            (users.c.lease_until.is_(None))
            | (users.c.lease_until <= now)
            | (users.c.lease_by == worker)
        )
        with self._writing() as connection:
            row = connection.execute(
                users.update()
                .where(users.c.user_id == user_id, free)
                .values(
                    lease_by=worker,
                    lease_until=now + timedelta(seconds=seconds),
                    fence=users.c.fence + 1,
                )
                .returning(users.c.fence)
            ).one_or_none()
        return row.fence if row else None

    def release(self, user_id: str, fence: int) -> None:
        with self._writing() as connection:
            connection.execute(
                users.update()
                .where(users.c.user_id == user_id, users.c.fence == fence)
                .values(lease_by=None, lease_until=None)
            )

    def publish(
        self,
        user_id: str,
        fence: int,
        *,
        turn_ids: Sequence[int],
        generation: int,
        new_pairs: Iterable[StoredPair] = (),
        rehearsed: Sequence[int] = (),
        report: dict,
    ) -> bool:
        """Make `generation` live and mark what it knows, in one transaction.

        Returns False, having changed nothing, if the fence has moved on (promise 3).
        """
        with self._writing() as connection:
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
            if rows := [_pair_row(pair) for pair in new_pairs]:
                connection.execute(pairs.insert(), rows)
            connection.execute(
                pairs.update().where(pairs.c.id.in_(rehearsed)).values(rehearsed_in=generation)
            )
            self._insert_report(connection, user_id, generation, report)
        return True

    def reject(self, user_id: str, fence: int, *, turn_ids: Sequence[int], report: dict) -> None:
        """Record that a slice failed its gate: the old generation stays, the turns stay pending."""
        with self._writing() as connection:
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
        with self._writing() as connection:
            self._insert_report(connection, user_id, None, report)

    def reports(self, user_id: str, *, last: int = 20) -> list[dict]:
        """Return the newest reports, newest first."""
        query = (
            sa.select(reports)
            .where(reports.c.user_id == user_id)
            .order_by(reports.c.id.desc())
            .limit(last)
        )
        with self._reading() as connection:
            return [row.report for row in connection.execute(query)]

    def pairs(self, user_id: str, *, is_probe: bool | None = None) -> list[StoredPair]:
        """Return the live pairs, least recently rehearsed first."""
        query = sa.select(pairs).where(pairs.c.user_id == user_id, pairs.c.status == "live")
        if is_probe is not None:
            query = query.where(pairs.c.is_probe == is_probe)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(pairs.c.rehearsed_in, pairs.c.id)).all()
        return [
            StoredPair(**(row._asdict() | {"source_turn_ids": tuple(row.source_turn_ids)}))
            for row in rows
        ]

    def set_live(self, user_id: str, generation: int) -> None:
        """Point the user at another generation (roll back)."""
        with self._writing() as connection:
            connection.execute(
                users.update().where(users.c.user_id == user_id).values(live_generation=generation)
            )

    # -- forgetting ----------------------------------------------------------------

    def forget(self, user_id: str) -> int:
        """Erase everything of a user from the file, not only from the tables; return how many
        turns there were. A running consolidation of the user publishes nothing any more: the row
        that holds its fence is gone."""
        with self._writing() as connection:
            number = connection.execute(turns.delete().where(turns.c.user_id == user_id)).rowcount
            for table in (pairs, reports, users):
                connection.execute(table.delete().where(table.c.user_id == user_id))
        with self._write_lock, self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            connection.rollback()
            raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
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

    @contextmanager
    def _reading(self):
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection

    @contextmanager
    def _writing(self):
        try:
            with self._write_lock, self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise StoreError(_explain(self.path, error)) from error

    def _check_schema(self, *, read_only: bool) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS_DIR))
        known = [
            revision.revision
            for revision in script.ScriptDirectory.from_config(config).walk_revisions()
        ]
        with self._reading() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise StoreError(
                f"{self.path} has schema version {found}, but this code knows only up to {known[0]}. "
                f"Update the app, or start with another --data-dir."
            )
        if found != known[0]:
            if read_only:
                raise StoreError(
                    f"{self.path} has an older schema ({found}); start the app once to bring it up to date."
                )
            with self._engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _pair_row(pair: StoredPair) -> dict:
    return {
        name: getattr(pair, name)
        for name in pairs.c.keys()  # noqa: SIM118 - a column collection, not a dict
        if name not in {"id", "source_turn_ids"}
    } | {"source_turn_ids": list(pair.source_turn_ids)}


def _on_connect(connection: object, _record: object) -> None:
    # The driver's own transactions are switched off: SQLAlchemy's begin says BEGIN IMMEDIATE.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "busy_timeout=30000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_connect_reading(connection: object, _record: object) -> None:
    connection.execute("PRAGMA busy_timeout=30000")


def _explain(path: Path, error: Exception) -> str:
    reason = str(getattr(error, "orig", error))
    if "full" in reason:
        way_out = "The disk is full: nothing more can be remembered until there is room."
    elif "readonly" in reason or "unable to open" in reason or isinstance(error, PermissionError):
        way_out = "The folder cannot be written: give --data-dir a folder that can."
    elif "not a database" in reason or "malformed" in reason:
        way_out = "The file is damaged or no database: move it away, or give another --data-dir."
    else:
        way_out = "Check the disk, or give another --data-dir."
    return f"The experience buffer {path} cannot be used ({reason}). {way_out}"
