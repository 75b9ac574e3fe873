"""The long-running worker process (`manage.py sms_worker`), which sends many messages at once."""
