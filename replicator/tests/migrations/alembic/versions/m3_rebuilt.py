"""What batch mode does: a new table in the old one's place. It is stopped, and the error says what to do."""

from alembic import op

revision = "m3_rebuilt"
down_revision = "m2"


def upgrade():
    with op.batch_alter_table("customer", recreate="always") as batch:
        batch.alter_column("name", new_column_name="full_name")
        batch.drop_column("fax")
