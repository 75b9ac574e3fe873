"""How values lie in Redis."""

from typing import Any

from django_redis.serializers.json import JSONSerializer


class Json(JSONSerializer):  # type: ignore[misc]
    """JSON. What is none, the pickle of a former release say, counts as nothing stored."""

    def loads(self, value: bytes) -> Any:
        try:
            return super().loads(value)
        except ValueError:
            return None
