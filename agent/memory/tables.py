"""The tables of the experience buffer, and their rows as the rest of the code sees them."""

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

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
