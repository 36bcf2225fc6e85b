import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.serving.page_tokens import MOST_SERVED, Page, PageTokens
from pipelines.serving.problems import ProblemError
from pipelines.serving.questions import LONGEST_TOKEN

IDS = st.integers(1, 2**32 - 1)
WHOSE = (7, "home", "personal")
PAGES = st.builds(
    Page,
    run_id=st.just("20260131-0123456789ab"),
    attempt=st.integers(0, 2**63 - 1),
    seed=st.integers(0, 2**60),
    number=st.integers(0, 100),
    served=st.frozensets(IDS, max_size=300),
)


@given(page=PAGES, shown=st.lists(IDS, min_size=1, max_size=100))
def test_a_token_says_what_it_was_made_of(page, shown):
    token = PageTokens(b"secret").make(page, shown, WHOSE)
    assert len(token) <= LONGEST_TOKEN
    following = PageTokens(b"secret").read(token, WHOSE)
    assert following == page._replace(number=page.number + 1, served=page.served | set(shown))


@given(token=st.text(st.sampled_from("abcXYZ0129-_"), max_size=60), at=st.integers(0, 50), page=PAGES)
def test_none_that_was_changed_or_made_elsewhere_is_taken(token, at, page):
    tokens = PageTokens(b"secret")
    ours = tokens.make(page, [1], WHOSE)
    changed = ours[:at] + ("A" if ours[at] != "A" else "B") + ours[at + 1 :]
    others = PageTokens(b"another").make(page, [1], WHOSE)
    for wrong, whose in ((token, WHOSE), (changed, WHOSE), (others, WHOSE), (ours, (8, "home", "personal"))):
        with pytest.raises(ProblemError):
            tokens.read(wrong, whose)


def test_there_is_an_end_to_it():
    page = Page("20260131-0123456789ab", 1, 2, 3, frozenset(range(1, MOST_SERVED)))
    assert PageTokens(b"secret").make(page, [MOST_SERVED], WHOSE) is not None
    assert PageTokens(b"secret").make(page, [MOST_SERVED, MOST_SERVED + 1], WHOSE) is None
