"""The tables. Migrations in `migrations/` bring a database to this shape; a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa


class UtcDateTime(sa.TypeDecorator[datetime]):
    """A point in time. SQLite forgets the zone, so it is always UTC on the way in and out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(63), nullable=False, unique=True),
    sa.Column("uid", sa.String(36), nullable=False),
    sa.Column("experiment", sa.String(250), nullable=False, index=True),
    sa.Column("profile", sa.String(100), nullable=False, index=True),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("desired", sa.String(8), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False, index=True),
    sa.Column("status", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(63), nullable=False, unique=True),
    sa.Column("model_id", sa.String(63), nullable=False, unique=True),
    sa.Column("uid", sa.String(36), nullable=False),
    sa.Column("profile", sa.String(100), nullable=False, index=True),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("model_version", sa.String(32), nullable=True),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("model", sa.JSON, nullable=True),
    sa.Column("elastic", sa.JSON, nullable=True),
    sa.Column("scale", sa.Integer, nullable=True),  # how many replicas the platform decided on, if it decides
    sa.Column("woken", sa.Integer, nullable=False, server_default="0"),
    sa.Column("desired", sa.String(8), nullable=False),
    sa.Column("phase", sa.String(16), nullable=False, index=True),
    sa.Column("status", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("holder", sa.String(100), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("task_id", sa.String(63), nullable=False),
    sa.Column("deployment_uid", sa.String(36), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("idempotency_key", sa.String(64), nullable=True),
    sa.Column("content_digest", sa.String(64), nullable=True),
    sa.Column("holder", sa.String(63), nullable=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("deadline_at", UtcDateTime, nullable=False),
    sa.Column("answered_at", UtcDateTime, nullable=True),
    sa.Column("expires_at", UtcDateTime, nullable=True),
    sa.Column("clean_at", UtcDateTime, nullable=True, index=True),
    sa.Column("status", sa.Integer, nullable=True),
    sa.Column("headers", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("answer_headers", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("answer", sa.LargeBinary, nullable=True),
    sa.UniqueConstraint("deployment_uid", "idempotency_key"),
    sa.Index("ix_predictions_pending", "answered_at", "holder", "deployment_uid", "size"),
    sqlite_autoincrement=True,
)

loads = sa.Table(
    "loads",
    metadata,
    sa.Column("gateway", sa.String(100), primary_key=True),
    sa.Column("tasks", sa.JSON, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
)
