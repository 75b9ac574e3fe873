"""playmatatu-sms: SMS through DMark from any Django project."""

__version__ = "0.2.0"
