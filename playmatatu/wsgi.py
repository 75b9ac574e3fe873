"""The WSGI entry point: `gunicorn playmatatu.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from playmatatu.postgres import limit_waits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "playmatatu.settings")

limit_waits()
application = get_wsgi_application()
