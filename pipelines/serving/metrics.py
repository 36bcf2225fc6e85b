"""What the endpoint counts, for Prometheus. Nothing here names a user.

Counted in plain integers and told when asked: the client library's own counters cost a request more than its rules do.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.stores.hop_times import BOUNDS, HopTimes

SOURCES = ("personal", "chronological", "cohort", "trending", "none")


class Metrics(Collector):
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        # Requests for a user's list, from their arrival to their answer in this process.
        self.seconds = HopTimes()
        self.hops: Mapping[str, HopTimes] = {}
        self.answers: Counter[str] = Counter(dict.fromkeys(SOURCES, 0))
        self.stores: Counter[str] = Counter()
        self.problems: Counter[int] = Counter()
        self.filtered: Counter[str] = Counter()
        self.relaxed: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.callers: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told."""
        for name, about, label, counter in (
            ("answers", "Lists answered, by what kind of list it was.", "source", self.answers),
            ("answers_by_store", "Lists answered, by the store that was asked last; memory: none of them answered in "
             "time; snapshot: none was ever there.", "store", self.stores),
            ("problems", "Requests that were refused, by HTTP status.", "status", self.problems),
            ("filtered", "Titles that a rule held back from an answer, by rule.", "rule", self.filtered),
            ("relaxed", "Answers for which a rule gave way, by rule.", "rule", self.relaxed),
            ("events", "Events taken, by kind.", "kind", self.events),
            ("requests", "Requests under /v1, by caller.", "caller", self.callers),
        ):  # fmt: skip
            family = CounterMetricFamily(f"marquee_{name}", about, labels=[label])
            for value, count in sorted(counter.items(), key=lambda pair: str(pair[0])):
                family.add_metric([str(value)], count)
            yield family
        for name, about in _COUNTS.items():
            yield CounterMetricFamily(f"marquee_{name}", about, value=self.counts[name])
        for name, about in _GAUGES.items():
            if name in self.gauges:
                yield GaugeMetricFamily(f"marquee_{name}", about, value=self.gauges[name])
        seconds = HistogramMetricFamily(
            "marquee_request_seconds", "Time from the request for a list to its answer, in this process."
        )
        seconds.add_metric([], _cumulated(self.seconds), self.seconds.seconds)
        yield seconds
        yield from self._of_hops()

    def _of_hops(self) -> Iterator[Metric]:
        times = HistogramMetricFamily("marquee_hop_seconds", "Time a store took to answer.", labels=["hop"])
        failures = CounterMetricFamily("marquee_hop_failures", "Times a store failed or was late.", labels=["hop"])
        resting = GaugeMetricFamily("marquee_hop_resting", "1 while a store that failed is not asked.", labels=["hop"])
        for name, hop in self.hops.items():
            times.add_metric([name], _cumulated(hop), hop.seconds)
            failures.add_metric([name], hop.failure_count)
            resting.add_metric([name], float(hop.is_resting))
        yield from (times, failures, resting)


_COUNTS = {
    "corrupt_lists": "Packed lists that could not be read.",
    "empty_answers": "Answers without a title.",
    "spool_errors": "Times the spool could not be written.",
    "spool_lost": "Answers that never reached the spool: too many were waiting.",
    "shed": "Requests refused because too many were being answered.",
    "refused_events": "Events that were refused.",
    "unkept_events": "Events of users who opted out, of which nothing is kept.",
}
_GAUGES = {
    "list_age_seconds": "Age of the lists that are live; NaN if none are.",
    "snapshot_age_seconds": "Age of the snapshot; NaN if there is none.",
    "spool_waiting": "Answers that are not in the spool on disk yet.",
    "in_flight": "Requests that are being answered.",
}


def _cumulated(times: HopTimes) -> list[tuple[str, float]]:
    buckets, count = [], 0
    for bound, more in zip((*map(str, BOUNDS), "+Inf"), times.counts, strict=True):
        count += more
        buckets.append((bound, float(count)))
    return buckets
