"""A table, and that it is replicated; so is the table in which Alembic notes what was done."""

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
    )
    op.execute("SELECT nuda_track('customer')")
    op.execute("SELECT nuda_track('alembic_version')")
