"""What is asked for, in a path and a query: read once, bounded, and refused in one sentence where it makes no sense."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl

from pipelines.lists.codec import LARGEST_ITEM_ID
from pipelines.serving.problems import ProblemError, wrong
from pipelines.stores.interface import HOME, LARGEST_USER_ID

LARGEST_K = 100
DEFAULT_K = 20
MOST_EXCLUDED = 200
LARGEST_LIMIT = 21  # years of age, as `feature_defs.users.USERS` declares
LONGEST_TOKEN = 4096
WORD_PATTERN = "^[a-z][a-z0-9_-]{0,31}$"
COUNTRY_PATTERN = "^[A-Z]{2}$"
_WORD = re.compile(WORD_PATTERN[1:-1], re.ASCII)
_COUNTRY = re.compile(COUNTRY_PATTERN[1:-1], re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,4096}", re.ASCII)
_WHOLE = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_K = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_LIMIT = re.compile(r"0|[1-9][0-9]?", re.ASCII)
# Most queries are one of few; those that are not are not worth keeping.
_KEPT_QUERIES = 4096
_LONGEST_KEPT = 128
_MOST_PARAMETERS = 16

Mode = Literal["personal", "chronological"]


class Query(NamedTuple):
    """What a query says; `maturity_limit`: of the account, should it be stricter than what the user decided."""

    k: int = DEFAULT_K
    surface: str = HOME
    device: str | None = None
    country: str | None = None
    exclude: frozenset[int] = frozenset()
    mode: Mode = "personal"
    page_token: str | None = None
    maturity_limit: int | None = None


def user_id_of(text: str) -> int:
    """The user id in a path.

    Raises:
        ProblemError: 400, if it is none.
    """
    if _WHOLE.fullmatch(text):
        user_id = int(text)
        if user_id <= LARGEST_USER_ID:
            return user_id
    raise wrong("A user id is a whole number from 1 to 9223372036854775807.")


def item_id_of(text: str) -> int:
    """The item id in a path.

    Raises:
        ProblemError: 400, if it is none.
    """
    if _WHOLE.fullmatch(text) and int(text) <= LARGEST_ITEM_ID:
        return int(text)
    raise wrong(f"An item id is a whole number from 1 to {LARGEST_ITEM_ID}.")


OF_A_USER = frozenset({"k", "surface", "device", "country", "exclude", "maturity_limit", "mode", "page_token"})
OF_NOBODY = frozenset({"k", "device", "country", "exclude", "maturity_limit"})


def query_of(text: bytes, known: frozenset[str]) -> Query:
    """A query, read.

    Args:
        text: as it came, without the question mark.
        known: the names it may hold.

    Raises:
        ProblemError: 400, naming the parameter that is wrong, unknown or given twice.
    """
    return _kept_query(text, known) if len(text) <= _LONGEST_KEPT else _read_query(text, known)


def _read_query(text: bytes, known: frozenset[str]) -> Query:
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:  # also what is no ASCII, or no UTF-8 once decoded
        raise wrong("The query cannot be read.") from None
    values = dict(pairs)
    if len(values) < len(pairs):
        raise wrong("Each parameter is given once.")
    if not values.keys() <= known:
        raise wrong(f"The parameters are {', '.join(sorted(known))}.")
    return Query(**{name: _READ[name](value) for name, value in values.items()})  # type: ignore[arg-type]


_kept_query = lru_cache(_KEPT_QUERIES)(_read_query)


def _k(text: str) -> int:
    if not _K.fullmatch(text) or int(text) > LARGEST_K:
        raise wrong(f"k is a whole number from 1 to {LARGEST_K}.")
    return int(text)


def _word(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not _WORD.fullmatch(text):
            raise wrong(f"{name} is a word of at most 32 small letters, digits, hyphens and underscores.")
        return text

    return read


def _country(text: str) -> str:
    if not _COUNTRY.fullmatch(text):
        raise wrong("country is a code of two capital letters, as in ISO 3166-1.")
    return text


def _exclude(text: str) -> frozenset[int]:
    parts = text.split(",") if text else []
    if len(parts) > MOST_EXCLUDED or not all(_WHOLE.fullmatch(part) and int(part) <= LARGEST_ITEM_ID for part in parts):
        raise wrong(f"exclude is at most {MOST_EXCLUDED} item ids with commas between them.")
    return frozenset(map(int, parts))


def _mode(text: str) -> Mode:
    if text == "personal":
        return "personal"
    if text == "chronological":
        return "chronological"
    raise wrong("mode is personal or chronological.")


def _page_token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise no_token()
    return text


def _limit(text: str) -> int:
    if not _LIMIT.fullmatch(text) or int(text) > LARGEST_LIMIT:
        raise wrong(f"maturity_limit is a whole number from 0 to {LARGEST_LIMIT}.")
    return int(text)


def no_token() -> ProblemError:
    """What is given as a page token is none of ours."""
    return wrong("This is no page token of an answer to the same question; ask without one.")


_READ: dict[str, Callable[[str], object]] = {
    "k": _k,
    "surface": _word("surface"),
    "device": _word("device"),
    "country": _country,
    "exclude": _exclude,
    "mode": _mode,
    "page_token": _page_token,
    "maturity_limit": _limit,
}
