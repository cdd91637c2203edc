"""The first schema: turns, pairs, users, reports."""

import sqlalchemy as sa
from alembic import op

revision = "m001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "turns",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.String(40), nullable=False),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("is_partial", sa.Boolean, nullable=False),
        sa.Column("retracted_at", sa.DateTime),
        sa.Column("feedback", sa.String(16)),
        sa.Column("learned_in", sa.Integer),
        sa.Column("rejections", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("turns_by_user", "turns", ["user_id", "id"])
    op.create_table(
        "pairs",
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
        sqlite_autoincrement=True,
    )
    op.create_index("pairs_by_user", "pairs", ["user_id", "status"])
    op.create_table(
        "users",
        sa.Column("user_id", sa.String(40), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("head", sa.Integer, nullable=False),
        sa.Column("watermark", sa.Integer, nullable=False),
        sa.Column("live_generation", sa.Integer, nullable=False),
        sa.Column("lease_by", sa.String(64)),
        sa.Column("lease_until", sa.DateTime),
        sa.Column("fence", sa.Integer, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.String(40), nullable=False),
        sa.Column("generation", sa.Integer),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
    )
    op.create_index("reports_by_user", "reports", ["user_id", "id"])
