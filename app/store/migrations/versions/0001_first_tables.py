"""The first tables: jobs, deployments, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.String(63), nullable=False),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("experiment", sa.String(250), nullable=False),
        sa.Column("profile", sa.String(100), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("desired", sa.String(8), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("status", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("task_id", name="uq_jobs_task_id"),
        sqlite_autoincrement=True,
    )
    for column in ("experiment", "profile", "phase"):
        op.create_index(f"ix_jobs_{column}", "jobs", [column])
    op.create_table(
        "deployments",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.String(63), nullable=False),
        sa.Column("model_id", sa.String(63), nullable=False),
        sa.Column("uid", sa.String(36), nullable=False),
        sa.Column("profile", sa.String(100), nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(32), nullable=True),
        sa.Column("desired", sa.String(8), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("status", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("task_id", name="uq_deployments_task_id"),
        sa.UniqueConstraint("model_id", name="uq_deployments_model_id"),
        sqlite_autoincrement=True,
    )
    for column in ("profile", "phase"):
        op.create_index(f"ix_deployments_{column}", "deployments", [column])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
