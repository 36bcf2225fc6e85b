"""What the endpoint counts, for Prometheus. Nothing here names a user."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "marquee_request_seconds",
            "Time from the request for a list to its answer, in this process.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "marquee_answers", "Lists answered, by where they came from.", ["source"], registry=self.registry
        )
        self.stores = Counter(
            "marquee_answers_by_store",
            "Lists answered, by the store that was asked last; memory: none of them answered in time.",
            ["store"],
            registry=self.registry,
        )
        self.problems = Counter(
            "marquee_problems", "Requests that were refused, by HTTP status.", ["status"], registry=self.registry
        )
        self.list_age_seconds = Gauge(
            "marquee_list_age_seconds", "Age of the lists that are live; NaN if none are.", registry=self.registry
        )
        self.corrupt_lists = Counter(
            "marquee_corrupt_lists", "Packed lists that could not be read.", registry=self.registry
        )
        self.spool_errors = Counter(
            "marquee_spool_errors", "Times the spool could not be written.", registry=self.registry
        )
        self.spool_waiting = Gauge(
            "marquee_spool_waiting", "Answers that are not in the spool on disk yet.", registry=self.registry
        )
        self.spool_lost = Counter(
            "marquee_spool_lost", "Answers that never reached the spool: too many were waiting.", registry=self.registry
        )
        for source in ("personal", "trending", "none"):
            self.answers.labels(source)
