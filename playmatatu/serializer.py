"""The format of values in Redis."""

from typing import Any

from django_redis.serializers.json import JSONSerializer


class Json(JSONSerializer):  # type: ignore[misc]
    """JSON. Any other value, such as a pickle of a former release, counts as missing."""

    def loads(self, value: bytes) -> Any:
        try:
            return super().loads(value)
        except ValueError:
            return None
