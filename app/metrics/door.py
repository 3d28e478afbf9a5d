"""GET /metrics: open to whoever has the token of the settings, and without one to nobody.

The loopback interface is no proof: behind a proxy on the same machine everybody comes from there.
"""

import hmac
from collections.abc import Iterable
from http import HTTPStatus

from flask import Blueprint, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app import clock, web
from app.metrics import reading
from app.metrics.catalogue import METRICS, Kind
from app.metrics.reading import Sample

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Give all metrics in Prometheus' text form; 404 without a token in the settings, 401 with another one."""
    wanted = web.settings().metrics_token
    if not wanted:
        return Response(status=HTTPStatus.NOT_FOUND)
    presented = request.authorization
    if presented is None or presented.type != "bearer" or not _is_same(presented.token or "", wanted):
        return Response(status=HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Samples(reading.read(web.database(), at=clock.now())))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Samples(Collector):
    """Hands the samples of one reading to the library that writes them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for metric in METRICS:
            family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            self._families[metric.name] = family(metric.name, metric.help, labels=metric.labels)
        for sample in samples:
            self._families[f"testcard_{sample.name}"].add_metric(sample.labels, sample.value)

    def collect(self) -> Iterable[Metric]:
        """Give the families in the order of the catalogue."""
        return self._families.values()


def _is_same(presented: str, wanted: str) -> bool:
    return hmac.compare_digest(presented.encode(errors="replace"), wanted.encode())
