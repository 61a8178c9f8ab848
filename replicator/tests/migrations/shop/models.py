"""What the migrations of this application end with."""

import uuid

from django.db import models


class Item(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    label = models.TextField()
    colour = models.TextField(null=True)
