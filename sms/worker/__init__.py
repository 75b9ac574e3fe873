"""The worker: a long-running process (`manage.py sms_worker`) that sends many messages at once."""
