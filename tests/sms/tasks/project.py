"""Settings of a project that sends its messages with RQ, a task queue."""

import os

import django
import environ

SECRET_KEY = "x" * 50
USE_TZ = True
DATABASES = {"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])}
INSTALLED_APPS = ["sms", "django_rq", "django_tasks_rq"]
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")
RQ_QUEUES = {"default": {"URL": os.environ["REDIS_URL"]}}
TASKS = {"default": {"BACKEND": "django_tasks_rq.RQBackend", "QUEUES": ["default"]}}
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS_URL"]}}
SMS_DELIVERY = "tasks"
SMS_SERVICE_BASE_URL = os.environ["SANDBOX_URL"]
SMS_SERVICE_USERNAME, SMS_SERVICE_PASSWORD = "u", "p"
SMS_CONNECT_TIMEOUT, SMS_READ_TIMEOUT, SMS_LEASE_SECONDS = 0.5, 1.0, 1.0
SMS_RATE_LIMIT_SECONDS = 0
