"""A field that may not be NULL makes Django rebuild the table: stopped, and the error says what to do."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_label")]
    operations = [migrations.AddField("Item", "weight", models.IntegerField(default=0))]
