"""The description of the endpoint is true: whatever it allows is answered as it says."""

import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from planted_snapshot import title, write_snapshot
from running_endpoint import TODAY, Running, publish
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipelines.serving.openapi import openapi_document

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
EXAMPLES = 25


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    publish(home / "lists.lmdb")
    titles = [title(item) for item in [*range(50, 80), *range(1000, 1030)]]
    write_snapshot(str(home / "snapshots"), titles, run_id=TODAY, neighbours={1000: (1001, 1002)})
    with Running(home, has_snapshot=True) as endpoint:
        yield endpoint


schema = schemathesis.openapi.from_dict(json.loads(json.dumps(openapi_document())))


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)
def test_whatever_is_asked_is_answered_as_described(case, endpoint):
    arguments = case.as_transport_kwargs(base_url="http://endpoint")
    arguments.pop("cookies", None)
    arguments["content"] = arguments.pop("data", None)  # as the client's library names bytes
    response = endpoint._runner.run(endpoint._client.request(**arguments))
    assert "Traceback" not in response.text
    case.validate_response(schemathesis.Response.from_any(response), checks=CHECKS)


def test_the_document_is_served_names_every_route_and_its_examples_fit(endpoint):
    document = endpoint.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    served = {route.path for route in endpoint.app.routes if route.path.startswith("/v1/")}
    assert set(document["paths"]) == served
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    answer = endpoint.get("/v1/recommendations/1?k=3").json()
    whole = {"$ref": "#/components/schemas/Recommendations", "components": document["components"]}
    jsonschema.validate(answer, whole)


class _Resources(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids |= {value for name, value in attributes if name == "id"}
        self.links += [value for name, value in attributes if name in ("href", "src")]


def test_the_page_names_every_route_and_fetches_nothing(endpoint):
    response = endpoint.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    page = _Resources()
    page.feed(response.text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(link == "openapi.json" or link[1:] in page.ids for link in page.links), page.links
    for path in openapi_document()["paths"]:
        assert path in response.text
    assert not re.search(r"https?://", response.text)
