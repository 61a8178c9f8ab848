"""A renamed field, in order: not in Django's transaction, and told to Django by state_operations."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0002_colour")]
    operations = [
        migrations.RunSQL(
            [("SELECT nuda_exec('ALTER TABLE shop_item RENAME COLUMN name TO label')", None)],
            state_operations=[migrations.RenameField("Item", "name", "label")],
        )
    ]
