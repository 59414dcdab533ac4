"""Predictions that are answered later."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "predictions",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("task_id", sa.String(63), nullable=False),
        sa.Column("deployment_uid", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(64), nullable=True),
        sa.Column("content_digest", sa.String(64), nullable=True),
        sa.Column("holder", sa.String(63), nullable=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("deadline_at", moment, nullable=False),
        sa.Column("answered_at", moment, nullable=True),
        sa.Column("expires_at", moment, nullable=True),
        sa.Column("clean_at", moment, nullable=True),
        sa.Column("status", sa.Integer, nullable=True),
        sa.Column("headers", sa.JSON, nullable=True),
        sa.Column("answer_headers", sa.JSON, nullable=True),
        sa.Column("body", sa.LargeBinary, nullable=True),
        sa.Column("answer", sa.LargeBinary, nullable=True),
        sa.UniqueConstraint("id", name="uq_predictions_id"),
        sa.UniqueConstraint("deployment_uid", "idempotency_key", name="uq_predictions_deployment_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_predictions_clean_at", "predictions", ["clean_at"])
    op.create_index("ix_predictions_pending", "predictions", ["answered_at", "holder", "deployment_uid", "size"])
