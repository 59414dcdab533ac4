"""Deployments count the models that they were asked to serve, and keep how the last one was named."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    op.add_column("deployments", sa.Column("model", sa.JSON, nullable=True))
