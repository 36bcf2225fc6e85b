"""Samples of values that Data Docs quote, to people who look for what is wrong: without those that name a user.

A page of Great Expectations quotes, under a head "Unexpected Value", values that broke an expectation, one a row, or
all values of a key together. A row in which the id stands as a number goes; counts and all else of the page stay.
"""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path

_SAMPLE = re.compile(
    r"(?P<head><thead[^>]*>(?:(?!</thead>).)*?Unexpected Value(?:(?!</thead>).)*?</thead>\s*<tbody[^>]*>)"
    r"(?P<rows>.*?)(?P<end></tbody>)",
    re.DOTALL,
)
_ROW = re.compile(r"<tr[^>]*>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td[^>]*>(.*?)</td>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"(?<![\w.-])\d+(?![\w-]|\.\d)")


def remove_samples(docs: Path, user_ids: Collection[int]) -> Counter[int]:
    """Take the quoted values that name these users out of all pages. Returns how many named each of them."""
    users, counts = {str(user) for user in user_ids}, Counter[int]()
    if not users:
        return counts
    for page in sorted(docs.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        found = Counter[int]()
        cleaned = _SAMPLE.sub(lambda sample, found=found: _without(sample, users, found), text)  # type: ignore[misc]
        if found:
            fresh = page.with_suffix(".html.rewritten")
            fresh.write_text(cleaned, encoding="utf-8")
            fresh.replace(page)
            counts += found
    return counts


def _without(sample: re.Match[str], users: set[str], found: Counter[int]) -> str:
    def kept(row: re.Match[str]) -> str:
        # The first cell holds the value or the key; behind it stands how often it was found.
        first = _CELL.search(row.group())
        named = users.intersection(_NUMBER.findall(_TAG.sub(" ", first.group(1)))) if first else set()
        found.update(map(int, named))
        return "" if named else row.group()

    return sample["head"] + _ROW.sub(kept, sample["rows"]) + sample["end"]
