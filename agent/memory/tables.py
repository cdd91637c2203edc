"""The file of the experience buffer: its tables, their rows as the rest of the
code sees them, and how it is opened, brought up to date and cleaned."""

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic import command, script
from alembic.config import Config
from alembic.migration import MigrationContext

from agent.errors import StoreError

MIGRATIONS_DIR = Path(__file__).parent / "migrations"

MAX_REJECTIONS = 2
"""A slice rejected so often is set aside as unlearned (docs/method.md, rule 2)."""


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
    """The generation that knows it; None before; 0 if there was nothing to learn, so that no
    generation has to go when it is taken back."""
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


def pair_row(pair: StoredPair) -> dict:
    """Return what `pairs.insert()` takes."""
    return {
        name: getattr(pair, name)
        for name in pairs.c.keys()  # noqa: SIM118 - a column collection, not a dict
        if name not in {"id", "source_turn_ids"}
    } | {"source_turn_ids": list(pair.source_turn_ids)}


def open_engine(path: Path, *, read_only: bool) -> sa.Engine:
    """Return an engine on the file, its tables brought up to date.

    Raises:
        StoreError: If the file cannot be used, or was written by a newer version.
    """
    mode = "ro" if read_only else "rwc"
    engine = sa.create_engine(
        f"sqlite:///file:{path.absolute().as_posix()}?mode={mode}&uri=true",
        connect_args={"timeout": 30, "check_same_thread": False},
        isolation_level="AUTOCOMMIT" if read_only else None,
        hide_parameters=True,  # or what a user typed would stand in error messages
    )
    sa.event.listen(engine, "connect", _on_connect_reading if read_only else _on_connect)
    sa.event.listen(
        engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
    )
    try:
        _check_schema(engine, path, read_only=read_only)
    except (sa.exc.DatabaseError, OSError) as error:
        engine.dispose()
        raise StoreError(explain(path, error)) from error
    except StoreError:
        engine.dispose()
        raise
    return engine


def _check_schema(engine: sa.Engine, path: Path, *, read_only: bool) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR))
    known = [
        revision.revision
        for revision in script.ScriptDirectory.from_config(config).walk_revisions()
    ]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise StoreError(
            f"{path} has schema version {found}, but this code knows only up to {known[0]}. "
            f"Update the app, or start with another --data-dir."
        )
    if found != known[0]:
        if read_only:
            raise StoreError(
                f"{path} has an older schema ({found}); start the app once to bring it up to date."
            )
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


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


def clean(engine: sa.Engine, path: Path) -> None:
    """Write the file anew without what was deleted, and empty its log.

    Raises:
        StoreError: If there is no room for a copy, or another program is reading.
    """
    with engine.connect() as connection:
        connection.rollback()
        raw = connection.connection.driver_connection
        try:
            raw.execute("VACUUM")
            for _ in range(50):  # a reader on another thread may hold the log for a moment
                if raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                    return
                time.sleep(0.1)
        except sqlite3.Error as error:
            raise StoreError(explain(path, error)) from error
    raise StoreError(
        f"{path} is being read by another program, so what was forgotten may still stand in {path.name}-wal. "
        f"Close that program and forget again."
    )


def explain(path: Path, error: Exception) -> str:
    """Return an error of the file in a sentence, with the way out."""
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
