"""An added field that may be NULL is ALTER TABLE ADD COLUMN, which needs nothing."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_item")]
    operations = [migrations.AddField("Item", "colour", models.TextField(null=True))]
