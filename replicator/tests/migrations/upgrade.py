"""usage: upgrade.py alembic|django FILE EXTENSION TARGET, as a deployment would call the tool."""

import os
import sys

tool, file, extension, target = sys.argv[1:]
here = os.path.dirname(os.path.abspath(__file__))

if tool == "alembic":
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.path.join(here, "alembic"))
    config.attributes.update(file=file, extension=extension)
    command.upgrade(config, target)
else:
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db.backends.signals import connection_created

    sys.path.insert(0, here)
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": file}},
        INSTALLED_APPS=["shop"],
        USE_TZ=True,
    )

    def load_nuda(connection, **_):
        connection.connection.enable_load_extension(True)
        connection.connection.load_extension(extension)
        connection.connection.enable_load_extension(False)

    connection_created.connect(load_nuda)
    django.setup()
    call_command("migrate", "shop", target, verbosity=0)
