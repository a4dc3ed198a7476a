"""What services measure: scrapes of /metrics."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from blindsight.runtime import metrics as shared
from blindsight.runtime.metrics import Reading
from services.evaluator import metrics as evaluator
from services.keyholder import metrics as keyholder
from services.storage import metrics as storage
from services.worker import metrics as worker

SERVICES = {"keyholder": keyholder, "evaluator": evaluator, "storage": storage, "worker": worker}
REGISTRIES = {name: module.REGISTRY for name, module in SERVICES.items()}
CATALOGUE = {
    f"{service}.{name}": metric
    for service, module in {"shared": shared, **SERVICES}.items()
    for name, metric in vars(module).items()
    if isinstance(metric, MetricWrapperBase | Reading)
}


def scrape(port: int) -> list[Metric]:
    """What a service exposes, as Prometheus would read it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        return list(text_string_to_metric_families(response.read().decode()))


def samples(port: int, name: str) -> Iterator[Sample]:
    """The samples of one name."""
    return (sample for family in scrape(port) for sample in family.samples if sample.name == name)


def value(port: int, name: str, **labels: str) -> float:
    """The sum of the samples of one name that have these labels."""
    return sum(sample.value for sample in samples(port, name) if labels.items() <= sample.labels.items())


def counts(port: int) -> Counter[tuple[str, str, str]]:
    """How often each histogram of schemes has been observed: (its name, scheme, parameter set)."""
    return Counter(
        {
            (family.name, sample.labels["scheme"], sample.labels["parameter_set"]): int(sample.value)
            for family in scrape(port)
            for sample in family.samples
            if sample.name == family.name + "_count" and "scheme" in sample.labels
        }
    )
