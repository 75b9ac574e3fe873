SECRET_KEY = "a key for this example alone, which no one may use for anything in earnest"
DEBUG = True
ROOT_URLCONF = "urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "hello.sqlite3",
        "ATOMIC_REQUESTS": True,
        # The site and a worker share one SQLite file. With these options they wait for each other instead of failing.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
INSTALLED_APPS = ["sms"]

SITE_URL = "http://127.0.0.1:8000"
SMS_SERVICE_BASE_URL = "http://127.0.0.1:8025"
SMS_SERVICE_USERNAME = "hello"
SMS_SERVICE_PASSWORD = "any will do for the sandbox"
