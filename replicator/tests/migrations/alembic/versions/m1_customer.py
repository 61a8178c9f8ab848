"""A table, and that it is replicated; so is the table in which Alembic notes what was done. All of it can be
done again, as it has to be if nobody leads the partition just then: Alembic has no transaction around it."""

import sqlalchemy as sa
from alembic import op

revision = "m1"
down_revision = None


def upgrade():
    op.create_table(
        "customer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text),
        sa.Column("fax", sa.Text),
        if_not_exists=True,
    )
    op.execute("SELECT nuda_track('customer')")
    op.execute("SELECT nuda_track('alembic_version')")
