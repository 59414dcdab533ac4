"""Alembic's entry: runs the migrations on the connection that `app.store.database` hands over.

To write a new one: `alembic -c app/store/migrations/alembic.ini revision -m "what changes"`.
"""

from alembic import context

from app.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
