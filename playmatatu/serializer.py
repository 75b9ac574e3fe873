"""The serializer for cache values in Redis."""

from typing import Any

from django_redis.serializers.json import JSONSerializer


class Json(JSONSerializer):  # type: ignore[misc]
    """Serialize values as JSON. A stored value that is not JSON counts as missing."""

    def loads(self, value: bytes) -> Any:
        try:
            return super().loads(value)
        except ValueError:
            return None
