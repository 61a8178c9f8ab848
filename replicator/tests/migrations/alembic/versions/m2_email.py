"""Added columns and indexes need nothing."""

import sqlalchemy as sa
from alembic import op

revision = "m2"
down_revision = "m1"


def upgrade():
    op.add_column("customer", sa.Column("email", sa.Text, nullable=False, server_default=""))
    op.create_index("customer_email", "customer", ["email"])
