"""Run by Alembic for each upgrade, on the connection (and in the transaction) it was handed."""

from alembic import context

from engine.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite changes a column only by copying its table
)
context.run_migrations()
