"""Deployments that follow their load, and what each gateway has of it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("elastic", sa.JSON, nullable=True))
    op.add_column("deployments", sa.Column("scale", sa.Integer, nullable=True))
    op.add_column("deployments", sa.Column("woken", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "loads",
        sa.Column("gateway", sa.String(100), primary_key=True),
        sa.Column("tasks", sa.JSON, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
