"""Compare the API with its own OpenAPI description. `test_api.py` runs this file in a process of its own."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from playmatatu.wsgi import application

pytestmark = pytest.mark.django_db(transaction=True)

schema = schemathesis.openapi.from_wsgi("/api/openapi.json", application)


@schema.parametrize()
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_the_api_keeps_its_own_description(case: Any) -> None:
    # The schema cannot describe every notation of a Ugandan number, so the tool cannot predict which numbers are
    # refused.
    excluded = [positive_data_acceptance, negative_data_rejection] if case.method == "POST" else []
    case.call_and_validate(excluded_checks=excluded)
