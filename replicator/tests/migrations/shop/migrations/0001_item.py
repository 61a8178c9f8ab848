"""A table with keys that no two nodes invent alike, and that it is replicated; so is the table in
which Django notes what was done, whose keys SQLite picks: as a strong one."""

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel(
            "Item",
            [
                ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
                ("name", models.TextField()),
            ],
        ),
        migrations.RunSQL([("SELECT nuda_track('shop_item')", None)]),
        migrations.RunSQL([("SELECT nuda_track('django_migrations', 'strong')", None)]),
    ]
