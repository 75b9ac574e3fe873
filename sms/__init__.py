"""playmatatu-sms: SMS through DMark from any Django project."""

__version__ = "0.2.0"
# Tells this package from another one with the same import name.
PLAYMATATU_SMS = True
