"""The file of the experience buffer: how it is opened, brought up to date, read, written, cleaned."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from alembic import command, script
from alembic.config import Config
from alembic.migration import MigrationContext

from agent.errors import StoreError

MIGRATIONS_DIR = Path(__file__).parent / "migrations"

BUSY_TIMEOUT = "PRAGMA busy_timeout=30000"


class Database:
    """An SQLite file whose tables are those of `tables.py`, brought up to date when it is opened.

    Any thread may read and write; whoever writes does so alone, from `BEGIN IMMEDIATE` to the end
    of the block.

    Raises:
        StoreError: If the file cannot be used, or was written by a newer version.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._write_lock = threading.RLock()
        file = f"file:{quote(path.absolute().as_posix())}"
        mode = "ro" if read_only else "rwc"
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=file, query={"mode": mode, "uri": "true"}),
            connect_args={"timeout": 30, "check_same_thread": False},
            isolation_level="AUTOCOMMIT" if read_only else None,
            hide_parameters=True,  # or what a user typed would stand in error messages
        )
        sa.event.listen(self._engine, "connect", _on_connect_reading if read_only else _on_connect)
        sa.event.listen(
            self._engine,
            "begin",
            lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"),
        )
        try:
            _check_schema(self._engine, path, read_only=read_only)
        except (sa.exc.DatabaseError, OSError) as error:
            self.close()
            raise StoreError(explain(path, error)) from error
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise StoreError(explain(self.path, error)) from error

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction, undone if the block raises."""
        try:
            with self._write_lock, self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise StoreError(explain(self.path, error)) from error

    def clean(self) -> None:
        """Write the file anew without what was deleted, and empty its log.

        Raises:
            StoreError: If there is no room for a copy, or another program is reading.
        """
        with self._write_lock, self._engine.connect() as connection:
            connection.rollback()
            raw = connection.connection.driver_connection
            try:
                raw.execute("VACUUM")
                raw.execute("PRAGMA busy_timeout=0")  # or each try would wait for half a minute
                for _ in range(50):  # a reader on another thread may hold the log for a moment
                    if raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                        return
                    time.sleep(0.1)
            except sqlite3.Error as error:
                raise StoreError(explain(self.path, error)) from error
            finally:
                raw.execute(BUSY_TIMEOUT)
        raise StoreError(
            f"{self.path} is being read by another program, so what was forgotten may still stand "
            f"in {self.path.name}-wal. Close that program and forget again."
        )


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
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(BUSY_TIMEOUT)


def _on_connect_reading(connection: object, _record: object) -> None:
    connection.execute(BUSY_TIMEOUT)


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
