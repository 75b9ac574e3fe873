"""playmatatu-sms: SMS through DMark from any Django project."""

__version__ = "0.3.0"
