"""The same, in order: a statement of its own, outside of Alembic's transaction."""

from alembic import op

revision = "m3"
down_revision = "m2"


def upgrade():
    with op.get_context().autocommit_block():
        op.execute(
            "SELECT nuda_exec('ALTER TABLE customer RENAME COLUMN name TO full_name;"
            " ALTER TABLE customer DROP COLUMN fax')"
        )
