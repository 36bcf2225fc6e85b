"""The endpoint described: for programs (OpenAPI 3.1), and for people as a page made from the same document.

Forms are derived from the types that requests are decoded into and answers are encoded from.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from typing import Any

import msgspec

from pipelines.lists.codec import LARGEST_ITEM_ID
from pipelines.serving.answers import Recommendations
from pipelines.serving.heard import MOST_EVENTS, Event, Onboarding, Preferences, Taken
from pipelines.serving.problems import PROBLEM_TYPE, Problem
from pipelines.serving.questions import (
    COUNTRY_PATTERN,
    DEFAULT_K,
    LARGEST_K,
    LARGEST_LIMIT,
    LONGEST_TOKEN,
    MOST_EXCLUDED,
    WORD_PATTERN,
)
from pipelines.stores.interface import LARGEST_USER_ID

_COMPONENTS = "#/components/schemas/{name}"
_TYPES = (Recommendations, Event, Taken, Onboarding, Preferences, Problem)


@cache
def openapi_document() -> dict[str, Any]:
    """The document."""
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template=_COMPONENTS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Marquee",
            "version": "1",
            "description": "Recommendations from lists that were made at night, and what users do with them. "
            "Every answer names its run, its model set and the audit that let them go live.",
        },
        "security": [{"bearer": []}],
        "paths": {
            "/v1/recommendations/{user_id}": {
                "get": _operation(
                    "recommendations",
                    "Titles for a user",
                    "The first titles that the rules leave of the user's list, and by next_page_token the pages after "
                    "them. source says which list it was, store who gave it.",
                    [_user_id(), *_of_a_user()],
                    {"200": _answer("The titles.", "Recommendations"), "410": "The run of the page is no longer kept."},
                )
            },
            "/v1/events": {
                "post": _operation(
                    "events",
                    "What users did",
                    f"A batch of 1 to {MOST_EVENTS} events. Acknowledged once they are on disk and in force: a title "
                    "turned down or finished is not in the next answer. The same event id again changes nothing.",
                    [],
                    {
                        "202": _answer("What was taken, and what was refused.", "Taken"),
                        **_of_bodies(),
                    },
                    {"type": "array", "minItems": 1, "maxItems": MOST_EVENTS, "items": _ref("Event")},
                )
            },
            "/v1/users/{user_id}/onboarding": {
                "post": _operation(
                    "onboarding",
                    "What a user answered at sign-up",
                    "Decides which list the user gets until there is one of their own.",
                    [_user_id()],
                    {
                        "200": _answer("As it is kept.", "Onboarding"),
                        "409": "The user opted out of personalisation.",
                        "410": "The user was erased.",
                        **_of_bodies(),
                    },
                    _ref("Onboarding"),
                )
            },
            "/v1/users/{user_id}/preferences": {
                "put": _operation(
                    "preferences",
                    "What a user decided",
                    "Opting out of personalisation gives the newest titles first from the next answer on, and lets go "
                    "of what is kept about the user. Titles above the maturity limit are never shown.",
                    [_user_id()],
                    {
                        "200": _answer("As it is kept.", "Preferences"),
                        "410": "The user was erased.",
                        **_of_bodies(),
                    },
                    _ref("Preferences"),
                )
            },
            "/v1/items/{item_id}/similar": {
                "get": _operation(
                    "similar",
                    "Titles near one",
                    "For nobody in particular: nearest first.",
                    [
                        _parameter(
                            "item_id",
                            "path",
                            {"type": "integer", "minimum": 1, "maximum": LARGEST_ITEM_ID},
                            "A title.",
                        ),
                        *_of_nobody(),
                    ],
                    {"200": _answer("The titles.", "Recommendations"), "404": "The catalogue does not know the title."},
                )
            },
            "/v1/trending": {
                "get": _operation(
                    "trending",
                    "What trends",
                    "For nobody in particular: most played in the last seven days first.",
                    _of_nobody(),
                    {"200": _answer("The titles.", "Recommendations")},
                )
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key for each caller. Where none are set, whoever is on the machine may ask.",
                }
            },
        },
    }


def docs_page(document: Mapping[str, Any]) -> str:
    """The document as HTML that fetches nothing and runs nothing."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Marquee API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(_parts(document))}</main></body></html>"
    )


def _parts(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{escape(info['title'])} API</h1><p>{escape(info['description'])}</p>"
    yield f"<p>{escape(document['components']['securitySchemes']['bearer']['description'])} The same for programs: "
    yield '<a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>'
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2 id={operation['operationId']!r}><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"
            yield f"<p><strong>{escape(operation['summary'])}.</strong> {escape(operation['description'])}</p>"
            rows = [(one["name"], _words(one["schema"]), one["description"]) for one in operation.get("parameters", ())]
            if rows:
                yield _table(("parameter", "form", "meaning"), rows)
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                yield f"<p>Body: {_linked(_words(schema))}</p>"
            answers = operation["responses"].items()
            yield _table(("answer", "body", "meaning"), [(code, _of(one), one["description"]) for code, one in answers])
    yield "<h1>Forms</h1>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))}</p>'
        needed = schema.get("required", ())
        fields = [
            (field + ("" if field in needed else " (optional)"), _words(one), one.get("description", ""))
            for field, one in schema.get("properties", {}).items()
        ]
        yield _table(("field", "form", "meaning"), fields)


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_linked(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _linked(text: str) -> str:
    """Text as HTML, where `#Name` leads to the form of that name."""
    words = [
        f'<a href="{escape(word)}">{escape(word[1:])}</a>' if word.startswith("#") else escape(word)
        for word in text.split(" ")
    ]
    return " ".join(words)


def _of(response: Mapping[str, Any]) -> str:
    content = next(iter(response.get("content", {}).values()), None)
    return _words(content["schema"]) if content else ""


def _words(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return "#" + str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_words(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f" from {low} to {high}" if low is not None and high is not None else ""
    pattern = f" like {schema['pattern']}" if "pattern" in schema else ""
    form = f" ({schema['format']})" if "format" in schema else ""
    return f"{kind}{bounds}{pattern}{form}"


def _operation(
    name: str,
    summary: str,
    description: str,
    parameters: list[dict[str, Any]],
    responses: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    shared = {
        "400": "What is asked makes no sense: the detail says what.",
        "401": "No bearer key, or none that is known.",
        "414": "The address is too long.",
        "503": "Not now: Retry-After says when.",
    }
    described = {
        code: _answer(one, "Problem", PROBLEM_TYPE) if isinstance(one, str) else one
        for code, one in sorted((responses | shared).items())
    }
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": parameters,
        "responses": described,
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _answer(description: str, name: str, kind: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": _ref(name)}}}


def _of_bodies() -> dict[str, Any]:
    return {
        "408": "The body did not come in time.",
        "413": "The body is too long.",
        "415": "The body is not said to be JSON.",
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": _COMPONENTS.format(name=name)}


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema,
    }


def _user_id() -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_USER_ID}
    return _parameter("user_id", "path", schema, "A profile, not a household account.")


def _of_a_user() -> list[dict[str, Any]]:
    modes = {"type": "string", "enum": ["personal", "chronological"], "default": "personal"}
    token = {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{1,{LONGEST_TOKEN}}}$"}
    return [
        _k(),
        _parameter(
            "surface", "query", {"type": "string", "pattern": WORD_PATTERN}, "Where in the product; home if not said."
        ),
        *_of_everybody(),
        _limit("The account's, should it be stricter than what the user decided: titles above it are left out."),
        _parameter("mode", "query", modes, "chronological: the newest titles first."),
        _parameter("page_token", "query", token, "The next_page_token of the page before; for the same user and mode."),
    ]


def _of_nobody() -> list[dict[str, Any]]:
    return [_k(), *_of_everybody(), _limit("Titles above this age are left out.")]


def _limit(description: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_LIMIT}
    return _parameter("maturity_limit", "query", schema, description)


def _k() -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_K, "default": DEFAULT_K}
    return _parameter("k", "query", schema, "How many titles.")


def _of_everybody() -> list[dict[str, Any]]:
    ids = {
        "type": "array",
        "maxItems": MOST_EXCLUDED,
        "items": {"type": "integer", "minimum": 1, "maximum": LARGEST_ITEM_ID},
    }
    exclude = _parameter("exclude", "query", ids, "Titles that are not wanted, with commas between them.")
    return [
        _parameter("device", "query", {"type": "string", "pattern": WORD_PATTERN}, "tv, phone, tablet, web."),
        _parameter(
            "country",
            "query",
            {"type": "string", "pattern": COUNTRY_PATTERN},
            "ISO 3166-1; without it, only titles that may be shown everywhere.",
        ),
        exclude | {"style": "form", "explode": False},
    ]


_STYLE = (
    "body{margin:0;background:#fff;color:#1c1c22;font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:60rem;margin:0 auto;padding:1.5rem}"
    "h1{font-size:1.6rem;margin:2rem 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .25rem}h2 b{color:#8a1c3c}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse;width:100%;margin:.5rem 0;font-size:.9rem}"
    "th,td{text-align:left;vertical-align:top;border-bottom:1px solid #ddd;padding:.3rem .6rem .3rem 0}"
    "td{overflow-wrap:anywhere}"
    "th{color:#666;font-weight:500}a{color:#8a1c3c}"
    "@media(prefers-color-scheme:dark){body{background:#16161b;color:#e8e8ee}th,td{border-color:#333}th{color:#aaa}"
    "a,h2 b{color:#ff8fab}}"
)
