"""One thread for BLAS where it multiplies many small matrices."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def one_blas_thread() -> AbstractContextManager[object]:
    """Let BLAS use one thread inside: on small products its threads wait for one another.

    Measured on 2 cores that others used too: the candidates of 2,000 users took 33 s with two threads at a busy moment,
    and 0.9 s with one. Users are worked on in shards beside one another anyway.
    """
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
