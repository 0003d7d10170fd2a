"""`GET /metrics`: the server's counts and state, as Prometheus reads them.

Loaded with the first scrape. The text, its escaping and the numbers of the process are
prometheus_client's; what is counted, and when, is `counters.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nrepl_py.server.counters import SECONDS, Counters, Histogram, Sample


class Page(Collector):
    """The page of one server, which has a registry of its own: there may be several in a process.
    Called, it gives the page's type and its body."""

    def __init__(self, counters: Counters, sample: Callable[[], Sample]) -> None:
        self._counters = counters
        self._sample = sample
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def __call__(self) -> tuple[str, str]:
        return CONTENT_TYPE_LATEST, generate_latest(self._registry).decode()

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not sample."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All there is to say, now."""
        yield from _counted(self._counters)
        yield from _sampled(self._sample())


def _counted(counters: Counters) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "nrepl_requests", "Requests that had their last reply, refused ones included", labels=("op", "outcome")
    )
    for labels, count in counters.requests.items():
        requests.add_metric(labels, count)
    yield requests
    yield _counter("nrepl_evals_started", "Evals that began to run", sum(counters.queue_seconds.counts))
    yield _by("nrepl_evals_ended", "Accepted evals that ended, run or not", "outcome", counters.evals_ended)
    yield _histogram("nrepl_eval_seconds", "From an eval's acceptance to its done", counters.eval_seconds)
    yield _histogram("nrepl_eval_queue_seconds", "From an eval's acceptance to its start", counters.queue_seconds)
    yield _by("nrepl_interrupts", "Interrupts answered, by the last stage walked", "stage", counters.interrupts)
    yield _histogram("nrepl_worker_start_seconds", "From asking for a worker to its being up", counters.starts)
    yield _by("nrepl_worker_starts_failed", "Workers that did not come up", "code", counters.starts_failed)
    yield _by("nrepl_worker_deaths", "Workers that ended unasked", "cause", counters.deaths)
    yield _counter("nrepl_connections_opened", "WebSockets opened", counters.connections)
    yield _by("nrepl_refused", "Connections and HTTP requests turned away", "reason", counters.refusals)


def _sampled(sample: Sample) -> Iterator[Metric]:
    sessions = GaugeMetricFamily("nrepl_sessions", "Sessions, those of evals without one included", labels=("state",))
    for state, count in sample.sessions.items():
        sessions.add_metric((state,), count)
    yield sessions
    yield GaugeMetricFamily("nrepl_evals_queued", "Evals waiting in sessions", sample.queued)
    yield GaugeMetricFamily("nrepl_connections", "WebSockets open", sample.connections)
    yield GaugeMetricFamily("nrepl_outbox_bytes", "Waiting to be read by all clients", sample.outbox_total)
    yield GaugeMetricFamily("nrepl_outbox_max_bytes", "Waiting to be read by the slowest client", sample.outbox_max)
    yield GaugeMetricFamily("nrepl_stream_log_bytes", "Kept of sessions' streams", sample.log)
    yield _counter("nrepl_output_bytes", "Written by workers to their out and err", sample.output)
    yield _by("nrepl_lines_dropped", "Lines that found no room or no disk", "file", sample.dropped)


def _counter(name: str, about: str, count: int) -> Metric:
    return CounterMetricFamily(name, about, count)


def _by(name: str, about: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=(label,))
    for word, count in counts.items():
        family.add_metric((word,), count)
    return family


def _histogram(name: str, about: str, histogram: Histogram) -> Metric:
    bounds = [*(str(float(bound)) for bound in SECONDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=histogram.sum)
