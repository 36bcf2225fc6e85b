"""How many rows a step of the ranker has."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.ranker_configuration import RankerConfiguration


@given(st.integers(0, 10**10), st.integers(1, 10**5))
def test_a_pass_has_many_steps_where_there_are_rows_for_them_and_no_step_is_larger_than_asked(rows, most):
    step = RankerConfiguration(batch_size=most).rows_a_step(rows)
    assert 1 <= step <= most
    assert step == most or step <= 256 or 1400 <= rows / step < 1406


def test_what_a_small_service_showed_is_learned_in_smaller_steps_than_what_a_large_one_did():
    steps = [RankerConfiguration().rows_a_step(rows) for rows in (10_000, 700_000, 50_000_000)]
    assert steps == [256, 500, 2048]
