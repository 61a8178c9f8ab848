"""Alembic's environment for a file that NUDA replicates: each connection loads the extension."""

from alembic import context
from sqlalchemy import create_engine, event

options = context.config.attributes
engine = create_engine(f"sqlite:///{options['file']}")


@event.listens_for(engine, "connect")
def load_nuda(connection, _record):
    connection.enable_load_extension(True)
    connection.load_extension(options["extension"])
    connection.enable_load_extension(False)


with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
