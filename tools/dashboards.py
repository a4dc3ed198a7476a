"""Writes deploy/grafana/dashboards/ when it is run; a test compares the files.

The dashboards are listed here row by row; `Panel` writes all panels in Grafana's JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
COLUMNS = 24
SCHEMA_VERSION = 38  # of Grafana 10.1; newer ones migrate it when they load it
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SERVICES = "keyholder|evaluator|storage|worker"
# The histogram of each step.
STEPS = {
    "encrypt": "blindsight_keyholder_encrypt_seconds",
    "score": "blindsight_evaluator_score_seconds",
    "compare": "blindsight_evaluator_compare_all_seconds",
    "decrypt": "blindsight_keyholder_decrypt_seconds",
}
CHOSEN = 'scheme=~"$scheme", parameter_set=~"$parameter_set"'

Json = dict[str, Any]
Query = tuple[str, str]
"""PromQL, and the legend of its series."""
Steps = dict[float | None, str]
"""Thresholds: the colour from each value on; None is the lowest."""


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        kind: Grafana's name of the visualization.
        queries: queries of the series that it shows.
        unit: Grafana's id of the unit.
        width, height: in cells of the grid, which is 24 wide.
        about: sentence shown at the panel's (i).
        steps: thresholds.
        defaults, custom, options: further settings of Grafana's fieldConfig and options.
        transformations: transformations of a table.
        text: Markdown of a text panel.
    """

    kind: str
    title: str
    queries: Sequence[Query] = ()
    unit: str = "short"
    width: int = 8
    height: int = 8
    about: str = ""
    steps: Steps = field(default_factory=lambda: {None: "green"})
    defaults: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    transformations: Sequence[Json] = ()
    text: str = ""

    def json(self, number: int, x: int, y: int) -> Json:
        """Returns the panel's JSON for a position in the grid."""
        position = {"h": self.height, "w": self.width, "x": x, "y": y}
        panel: Json = {"id": number, "type": self.kind, "title": self.title, "gridPos": position}
        if self.about:
            panel["description"] = self.about
        if self.text:
            return panel | {"options": {"mode": "markdown", "content": self.text}}
        steps = [{"color": color, "value": value} for value, color in self.steps.items()]
        defaults = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}, **self.defaults}
        defaults["custom"] = self.custom
        return panel | {
            "datasource": DATASOURCE,
            "targets": [self._target(place, *query) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self.options,
            "transformations": list(self.transformations),
        }

    def _target(self, place: int, expression: str, legend: str) -> Json:
        formats = {"table": "table", "heatmap": "heatmap"}
        over_time = self.kind in ("timeseries", "heatmap")
        return {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend,
            "format": formats.get(self.kind, "time_series"),
            "range": over_time,
            "instant": not over_time,
        }


def lines(title: str, *queries: Query, stacked: bool = False, log: bool = False, **more: Any) -> Panel:
    """Returns a panel of series over time, with their last and largest value in the legend.

    Args:
        stacked: whether series are stacked.
        log: whether the axis is logarithmic.
    """
    custom: Json = {"lineWidth": 1, "fillOpacity": 40 if stacked else 8, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    if more.get("steps"):
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults: Json = {"color": {"mode": "palette-classic"}, **more.pop("defaults", {})}
    if not log:
        defaults.setdefault("min", 0)
    legend = {
        "displayMode": "table",
        "placement": "bottom",
        "showLegend": True,
        "calcs": ["lastNotNull", "max"],
    }
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel("timeseries", title, queries, defaults=defaults, custom=custom, options=options, **more)


def number(title: str, *queries: Query, width: int = 4, **more: Any) -> Panel:
    """Returns a panel of the newest value, shown large."""
    defaults = {"noValue": "none", **more.pop("defaults", {})}
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return Panel("stat", title, queries, width=width, height=4, defaults=defaults, options=options, **more)


def bars(title: str, *queries: Query, **more: Any) -> Panel:
    """Returns a panel of each series' newest value as a bar."""
    options = {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return Panel("bargauge", title, queries, defaults={"min": 0}, options=options, **more)


def heat(title: str, expression: str, **more: Any) -> Panel:
    """Returns a panel of a histogram's distribution over time."""
    options: Json = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "legend": {"show": True},
        "tooltip": {"show": True, "yHistogram": False},
        "yAxis": {"unit": "s", "axisPlacement": "left"},
        "rowsFrame": {"layout": "auto"},
    }
    return Panel("heatmap", title, [(expression, "{{le}}")], options=options, **more)


def table(title: str, expression: str, columns: dict[str, str], value: str, **more: Any) -> Panel:
    """Returns a panel of each series' newest value as a row.

    Args:
        columns: labels to show, in order, with the titles of their columns.
        value: title of the value's column.
    """
    names = {**columns, "Value": value}
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": names,
    }
    options = {"showHeader": True, "sortBy": [{"displayName": value, "desc": True}]}
    return Panel(
        "table",
        title,
        [(expression, "")],
        custom={"align": "auto", "filterable": True},
        options=options,
        transformations=[{"id": "organize", "options": organize}],
        **more,
    )


# --- variables ---------------------------------------------------------------------------------------


def _of_label(name: str, label: str, series: str, of: str) -> Json:
    query = f"label_values({series}, {of})"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "A"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


SOURCE: Json = {
    "type": "datasource",
    "name": "datasource",
    "label": "Prometheus",
    "query": "prometheus",
    "hide": 0,
}
SERVICE = _of_label("service", "Service", f'blindsight_memory_bytes{{job=~"{SERVICES}"}}', "job")
_ENCRYPTED = "blindsight_keyholder_encrypt_seconds_count"
SCHEME = _of_label("scheme", "Scheme", _ENCRYPTED, "scheme")
PARAMETER_SET = _of_label(
    "parameter_set", "Parameter set", f'{_ENCRYPTED}{{scheme=~"$scheme"}}', "parameter_set"
)
_QUANTILES = ["p50", "p95", "p99"]
QUANTILE: Json = {
    "type": "custom",
    "name": "quantile",
    "label": "Quantile",
    "query": ",".join(_QUANTILES),
    "options": [{"selected": one == "p95", "text": one, "value": one} for one in _QUANTILES],
    "current": {"selected": True, "text": "p95", "value": "p95"},
    "multi": False,
    "includeAll": False,
    "hide": 0,
}

# --- what is shown -----------------------------------------------------------------------------------

Rows = dict[str, list[Panel]]

OVERVIEW: Rows = {
    "Now": [
        number(
            "Services",
            ('max by (job) (up{job=~"keyholder|evaluator|storage|worker|rabbitmq"})', "{{job}}"),
            width=8,
            about="Whether Prometheus can read their metrics; of workers, whether at least one can be read.",
            steps={None: "red", 1: "green"},
            defaults={
                "mappings": [
                    {"type": "value", "options": {"0": {"text": "down"}, "1": {"text": "up"}}},
                ]
            },
        ),
        number(
            "Alerts firing",
            ('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),
            steps={None: "green", 1: "red"},
            about="docs/operations.md says what to do about each.",
        ),
        number("Items", ("sum(blindsight_storage_items)", "items"), about="Live items of all collections."),
        number(
            "Searches",
            (
                'sum(rate(grpc_server_handled_total{job="keyholder", grpc_method="Search"}[$__rate_interval]))',
                "searches",
            ),
            unit="reqps",
            about="Calls; one may hold many queries.",
        ),
        number(
            "Search, p95",
            (
                'job_grpc_method:grpc_server_handling_seconds:p95_5m{job="keyholder", grpc_method="Search"}',
                "p95",
            ),
            unit="s",
            steps={None: "green", 2: "orange", 5: "red"},
            about="From the request to the last hit, of the last five minutes.",
        ),
    ],
    "Calls": [
        lines(
            "Calls by service",
            ('sum by (job) (rate(grpc_server_handled_total{job=~"$service"}[$__rate_interval]))', "{{job}}"),
            unit="reqps",
        ),
        lines(
            "Calls of clients, p95",
            ('job_grpc_method:grpc_server_handling_seconds:p95_5m{job="keyholder"}', "{{grpc_method}}"),
            unit="s",
            log=True,
            about="At the keyholder; streams count to their end, so an ingest is as long as what it ingests.",
        ),
        lines(
            "Calls that failed",
            ('job:grpc_server_faults:ratio_rate5m{job=~"$service"}', "{{job}}"),
            unit="percentunit",
            steps={None: "green", 0.05: "red"},
            about="INTERNAL, UNKNOWN, UNAVAILABLE and DATA_LOSS; refused requests are their callers' doing.",
        ),
        lines(
            "Calls in flight",
            ('sum by (job) (grpc_server_in_flight{job=~"$service"})', "{{job}}"),
            width=12,
            stacked=True,
        ),
        table(
            "Alerts",
            "ALERTS",
            {"alertname": "Alert", "severity": "Severity", "alertstate": "State", "job": "Service"},
            "Firing",
            width=12,
            about="Pending ones too; docs/operations.md says what to do about each.",
        ),
    ],
    "Machine": [
        lines(
            "Processors in use",
            (
                'sum by (job, instance) (rate(blindsight_cpu_seconds_total{job=~"$service"}[$__rate_interval]))',
                "{{job}} {{instance}}",
            ),
            about="Of the service and its worker processes.",
        ),
        lines(
            "Memory",
            ('blindsight_memory_bytes{job=~"$service"}', "{{job}} {{instance}}"),
            unit="bytes",
            about="Resident, of the service and its worker processes; pages that they share count once.",
        ),
        lines(
            "Disk that is free",
            (
                'blindsight_disk_free_bytes{job=~"$service"} / blindsight_disk_bytes{job=~"$service"}',
                "{{job}} {{instance}}",
            ),
            unit="percentunit",
            defaults={"max": 1},
            steps={None: "red", 0.05: "orange", 0.15: "green"},
        ),
        lines(
            "Evaluator's cache",
            ("blindsight_evaluator_cache_bytes", "in use"),
            ("blindsight_evaluator_cache_limit_bytes", "limit"),
            unit="bytes",
            about="Over the limit, galleries that were not used for longest make room.",
        ),
        lines(
            "Galleries that made room",
            ("increase(blindsight_evaluator_cache_evictions_total[$__rate_interval])", "galleries"),
            about="Each is fetched from storage and built again at its next search.",
        ),
        lines(
            "Restarts",
            ('changes(process_start_time_seconds{job=~"$service"}[$__rate_interval])', "service {{job}}"),
            (
                'increase({__name__=~"blindsight_.+_process_restarts_total", job=~"$service"}[$__rate_interval])',
                "workers of {{job}}",
            ),
            about="Worker processes are started again when one died; the calls are repeated.",
        ),
        lines(
            "Memory of image processing",
            ("blindsight_keyholder_imaging_held_bytes", "of running jobs"),
            ("blindsight_keyholder_imaging_limit_bytes", "limit"),
            unit="bytes",
            width=12,
            about="By estimates, before a job begins; what finds too little left waits.",
        ),
        lines(
            "Image processing that waits",
            ("blindsight_keyholder_imaging_waiting_jobs", "jobs"),
            width=12,
            about="For memory; more than 16 are refused.",
        ),
    ],
}


def _p95(label: str, histogram: str) -> str:
    return f"histogram_quantile(0.95, sum by ({label}, le) (rate({histogram}_bucket[$__rate_interval])))"


_ABOUT_STEPS = {
    "encrypt": "A group of queries (16 at most), a batch of a gallery, both sides of a pair, or one of a match.",
    "score": "One group of queries: receiving, checking, fetching what the cache lacks, the kernel, sending.",
    "compare": "All rows by all queries of one call: a pair, or the descriptors of two pictures.",
    "decrypt": "Opening and checking all answers to a group of queries, a pair or a match, over all threads.",
}

_COMBINING = (
    ("Key", "blindsight_keyholder_combine_keygen_seconds", "Every sum has a key of its own."),
    ("Encrypt", "blindsight_keyholder_combine_encrypt_seconds", "One picture or array."),
    ("Sum", "blindsight_evaluator_combine_seconds", "One weighted sum of encrypted arrays."),
    ("Decrypt", "blindsight_keyholder_combine_decrypt_seconds", "One weighted sum."),
)

_IMAGING = (
    (
        "Whole jobs",
        "blindsight_keyholder_imaging_seconds",
        "operation",
        "From the decoded picture to the result.",
    ),
    (
        "On ciphertexts",
        "blindsight_evaluator_planes_seconds",
        "operation",
        "From the first tile to the last result.",
    ),
)

LATENCY: Rows = {
    "Steps, by parameter set": [
        lines(
            f"{step.capitalize()}, $quantile",
            (
                (
                    "scheme_parameter_set_step:blindsight_step_seconds:${quantile}_5m"
                    f'{{step="{step}", {CHOSEN}}}'
                ),
                "{{parameter_set}}",
            ),
            unit="s",
            log=True,
            width=12,
            about=about,
        )
        for step, about in _ABOUT_STEPS.items()
    ],
    "Steps, spread": [
        heat(
            step.capitalize(),
            f"sum by (le) (increase({histogram}_bucket{{{CHOSEN}}}[$__rate_interval]))",
            width=12,
            about="Of the schemes and parameter sets chosen above, together.",
        )
        for step, histogram in STEPS.items()
    ],
    "How often": [
        lines(
            "Steps",
            (f"sum by (step) (scheme_parameter_set_step:blindsight_steps:rate5m{{{CHOSEN}}})", "{{step}}"),
            unit="ops",
            stacked=True,
        ),
        lines(
            "Steps by parameter set",
            (
                f"sum by (parameter_set) (scheme_parameter_set_step:blindsight_steps:rate5m{{{CHOSEN}}})",
                "{{parameter_set}}",
            ),
            unit="ops",
            stacked=True,
        ),
        bars(
            "Making a key",
            (
                (
                    f"sum by (parameter_set) (blindsight_keyholder_keygen_seconds_sum{{{CHOSEN}}})"
                    f" / sum by (parameter_set) (blindsight_keyholder_keygen_seconds_count{{{CHOSEN}}})"
                ),
                "{{parameter_set}}",
            ),
            unit="s",
            about="Once, by a keyholder that makes its keys when it starts; empty when they were there already.",
        ),
    ],
    "Sums under additive schemes, p95": [
        lines(
            title,
            (
                _p95("scheme", metric),
                "{{scheme}}",
            ),
            unit="s",
            log=True,
            width=6,
            about=about,
        )
        for title, metric, about in _COMBINING
    ],
    "Image processing, p95": [
        lines(
            title,
            (
                f"histogram_quantile(0.95, sum by ({label}, scheme, le) (rate({metric}_bucket[$__rate_interval])))",
                f"{{{{{label}}}}}, {{{{scheme}}}}",
            ),
            unit="s",
            log=True,
            width=12,
            about=about,
        )
        for title, metric, label, about in _IMAGING
    ],
    "Around them": [
        lines(
            "Searches and comparisons",
            (
                'job_grpc_method:grpc_server_handling_seconds:p50_5m{job="keyholder", grpc_method=~"Search|Verify"}',
                "{{grpc_method}} p50",
            ),
            (
                'job_grpc_method:grpc_server_handling_seconds:p95_5m{job="keyholder", grpc_method=~"Search|Verify"}',
                "{{grpc_method}} p95",
            ),
            unit="s",
            log=True,
            about="As clients see them, but for the network; of all schemes.",
        ),
        lines(
            "Bringing a gallery up to date",
            (
                (
                    "histogram_quantile(0.5, sum by (le) "
                    "(rate(blindsight_evaluator_refresh_seconds_bucket[$__rate_interval])))"
                ),
                "p50",
            ),
            (
                (
                    "histogram_quantile(0.95, sum by (le) "
                    "(rate(blindsight_evaluator_refresh_seconds_bucket[$__rate_interval])))"
                ),
                "p95",
            ),
            unit="s",
            log=True,
            about="The first search after an ingest waits for it.",
        ),
        lines(
            "Describing a photo, p95",
            (
                _p95("embedder", "blindsight_keyholder_embed_seconds"),
                "{{embedder}}",
            ),
            unit="s",
            log=True,
            about="With the wait for a free worker.",
        ),
    ],
}


def _queue_rate(what: str) -> str:
    return f"sum(rate(rabbitmq_global_messages_{what}_total[$__rate_interval]))"


INGEST: Rows = {
    "The way in": [
        lines(
            "Items stored",
            ("sum(rate(blindsight_storage_stored_items_total[$__rate_interval]))", "items"),
            unit="ops",
        ),
        lines(
            "Bytes stored",
            ("sum(rate(blindsight_storage_stored_bytes_total[$__rate_interval]))", "bytes"),
            unit="Bps",
            about="Ciphertexts and sealed originals of committed appends.",
        ),
        lines(
            "Photos described",
            (
                "sum by (embedder) (rate(blindsight_keyholder_embed_seconds_count[$__rate_interval]))",
                "{{embedder}}",
            ),
            unit="ops",
            about="For ingests, searches and comparisons; vectors need none.",
        ),
        lines(
            "Ingests in flight",
            ('sum by (job) (grpc_server_in_flight{grpc_method="Ingest"})', "{{job}}"),
            ('sum by (job) (grpc_server_in_flight{grpc_method="Append"})', "appends at {{job}}"),
        ),
        lines(
            "Ends of ingests and appends",
            (
                (
                    "sum by (grpc_method, grpc_code) "
                    '(rate(grpc_server_handled_total{grpc_method=~"Ingest|Append"}[$__rate_interval]))'
                ),
                "{{grpc_method}} {{grpc_code}}",
            ),
            unit="ops",
            stacked=True,
            about="ABORTED appends are tried again by the keyholder: another one came first.",
        ),
        lines(
            "Appends",
            ('job_grpc_method:grpc_server_handling_seconds:p50_5m{grpc_method="Append"}', "p50"),
            ('job_grpc_method:grpc_server_handling_seconds:p95_5m{grpc_method="Append"}', "p95"),
            unit="s",
            log=True,
            about="From the first byte to what is safe on storage's disk.",
        ),
    ],
    "Bulk ingest, at the workers": [
        lines(
            "Items of workers",
            ("sum by (outcome) (rate(blindsight_worker_items_total[$__rate_interval]))", "{{outcome}}"),
            unit="ops",
            stacked=True,
            about="Reported to the keyholder: done, duplicate, or failed.",
        ),
        lines(
            "Describing a photo at a worker, p95",
            (_p95("embedder", "blindsight_worker_embed_seconds"), "{{embedder}}"),
            unit="s",
            log=True,
            about="With the wait for a free process.",
        ),
        lines(
            "Encrypting a batch at a worker, p95",
            (_p95("parameter_set", "blindsight_worker_encrypt_seconds"), "{{parameter_set}}"),
            unit="s",
            log=True,
            about="The vectors of photos that are stored together.",
        ),
    ],
    "What is kept": [
        lines("Items", ("blindsight_storage_items", "items"), about="Live ones; deleting takes from them."),
        lines(
            "Collections and segments",
            ("blindsight_storage_collections", "collections"),
            ("blindsight_evaluator_cache_collections", "collections ready at the evaluator"),
            ("blindsight_evaluator_cache_segments", "their segments"),
        ),
        lines(
            "Storage",
            ("blindsight_storage_disk_bytes", "database"),
            ("blindsight_storage_write_ahead_log_bytes", "of it, write-ahead log"),
            unit="bytes",
        ),
    ],
    "Queue": [
        lines(
            "Messages",
            (
                'sum by (queue) (rabbitmq_detailed_queue_messages_ready{queue=~"blindsight.*"})',
                "{{queue}} waiting",
            ),
            (
                'sum by (queue) (rabbitmq_detailed_queue_messages_unacked{queue=~"blindsight.*"})',
                "{{queue}} with workers",
            ),
            about="One message is one image; what is in a queue that ends in .dead could not be ingested.",
        ),
        lines(
            "Taken in and done",
            (_queue_rate("received"), "published"),
            (_queue_rate("acknowledged"), "done"),
            (_queue_rate("redelivered"), "delivered again"),
            unit="ops",
        ),
        lines(
            "Dead letters",
            (
                r'sum by (queue) (rabbitmq_detailed_queue_messages{queue=~"blindsight.*\\.dead"})',
                "{{queue}}",
            ),
            about="Images that could not be ingested, until somebody requeues or drops them.",
            steps={None: "green", 1: "red"},
        ),
        lines(
            "Consumers",
            ('sum by (queue) (rabbitmq_detailed_queue_consumers{queue=~"blindsight.*"})', "{{queue}}"),
            about="Workers that are connected.",
        ),
        lines(
            "Broker's memory",
            ("rabbitmq_process_resident_memory_bytes", "in use"),
            ("rabbitmq_resident_memory_limit_bytes", "limit"),
            unit="bytes",
            about="Over the limit the broker blocks publishers.",
        ),
        lines(
            "Broker's disk",
            ("rabbitmq_disk_space_available_bytes", "free"),
            ("rabbitmq_disk_space_available_limit_bytes", "limit"),
            unit="bytes",
            about="Under the limit the broker blocks publishers.",
        ),
    ],
}

_UNTRUSTED = 'job=~"evaluator|storage"'
_LEARNS = """Neither service has a key, and no rpc of theirs decrypts. What they are asked is what they can
learn from: SECURITY.md lists it method by method.

- **Score**, **CompareAll**: ciphertexts of queries; how many, for which collection, and when.
- **Append**, **ReadBatches**: ciphertexts and sealed bytes, their sizes and their order.
- **GetItems**, **ReadOriginal**: which random handles were hits, and which photos were fetched.

A method that is asked much more often than searches and ingests explain is worth a question."""


def _since_start(title: str, reason: str, about: str) -> Panel:
    query = f'sum(blindsight_rpc_errors_total{{reason="{reason}", job=~"$service"}}) or vector(0)'
    return number(title, (query, reason), width=5, steps={None: "green", 1: "red"}, about=about)


PRIVACY: Rows = {
    "Since the services started": [
        number(
            "Answers refused",
            ("sum(blindsight_keyholder_answer_errors_total) or vector(0)", "answers"),
            width=4,
            steps={None: "green", 1: "red"},
            about="By the keyholder: not what the stored batches give. Its status and its log say more.",
        ),
        _since_start("Secret keys refused", "SECRET_MATERIAL_REFUSED", "At a door of the untrusted zone."),
        _since_start("Damaged bytes met", "DATA_LOSS", "Stored bytes that are not what was written."),
        _since_start("Exceptions nobody expected", "BLINDSIGHT_ERROR", "The log has their tracebacks."),
        _since_start("Malformed ciphertexts refused", "INVALID_CIPHERTEXT", "Or of another key or scheme."),
    ],
    "What the untrusted services were asked": [
        table(
            "Calls in this time range",
            f"round(sum by (job, grpc_method) (increase(grpc_server_handled_total{{{_UNTRUSTED}}}[$__range])))",
            {"job": "Service", "grpc_method": "Method"},
            "Calls",
            width=8,
            height=10,
        ),
        lines(
            "Calls over time",
            (
                (
                    "sum by (job, grpc_method) "
                    f"(rate(grpc_server_handled_total{{{_UNTRUSTED}}}[$__rate_interval]))"
                ),
                "{{job}} {{grpc_method}}",
            ),
            unit="reqps",
            stacked=True,
            width=10,
            height=10,
        ),
        Panel("text", "What they can learn", text=_LEARNS, width=6, height=10),
    ],
    "Who asks the keyholder": [
        lines(
            "Calls by role",
            ("sum by (role) (rate(blindsight_keyholder_calls_total[$__rate_interval]))", "{{role}}"),
            unit="reqps",
            stacked=True,
            about="Of tokens; none: who was not let in. The audit log has each token by itself.",
        ),
        lines(
            "Calls that tokens may not make",
            (
                (
                    "sum by (role, code) (rate(blindsight_keyholder_calls_total"
                    '{code=~"UNAUTHENTICATED|PERMISSION_DENIED|RESOURCE_EXHAUSTED"}[$__rate_interval])) or vector(0)'
                ),
                "{{role}} {{code}}",
            ),
            unit="reqps",
            about="A jump is somebody who tries tokens, or a role that is too small for its work.",
        ),
        lines(
            "Queries by role",
            ("sum by (role) (rate(blindsight_keyholder_queries_total[$__rate_interval]))", "{{role}}"),
            unit="reqps",
            stacked=True,
            about="Many queries of a searcher order a collection's vectors in many directions.",
        ),
    ],
    "Statuses and reasons": [
        lines(
            "Calls by status",
            (
                'sum by (grpc_code) (rate(grpc_server_handled_total{job=~"$service"}[$__rate_interval]))',
                "{{grpc_code}}",
            ),
            unit="reqps",
            stacked=True,
            width=12,
        ),
        lines(
            "Errors by reason",
            (
                'sum by (job, reason) (rate(blindsight_rpc_errors_total{job=~"$service"}[$__rate_interval]))',
                "{{job}} {{reason}}",
            ),
            unit="reqps",
            stacked=True,
            width=12,
        ),
        lines(
            "Calls that failed",
            ('job:grpc_server_faults:ratio_rate5m{job=~"$service"}', "{{job}}"),
            unit="percentunit",
            steps={None: "green", 0.05: "red"},
            width=12,
            about="INTERNAL, UNKNOWN, UNAVAILABLE and DATA_LOSS: ours to mend.",
        ),
        lines(
            "Calls that were refused",
            ('job:grpc_server_refusals:ratio_rate5m{job=~"$service"}', "{{job}}"),
            unit="percentunit",
            width=12,
            about="What cannot be. A jump is a broken client, or somebody who tries doors.",
        ),
        table(
            "Errors in this time range",
            'round(sum by (job, grpc_method, reason) (increase(blindsight_rpc_errors_total{job=~"$service"}[$__range])))',
            {"job": "Service", "grpc_method": "Method", "reason": "Reason"},
            "Calls",
            width=12,
        ),
        table(
            "Statuses in this time range",
            "round(sum by (job, grpc_method, grpc_code) "
            '(increase(grpc_server_handled_total{job=~"$service"}[$__range])))',
            {"job": "Service", "grpc_method": "Method", "grpc_code": "Status"},
            "Calls",
            width=12,
        ),
    ],
}

DASHBOARDS: dict[str, tuple[str, Rows, list[Json]]] = {
    "overview": ("Overview", OVERVIEW, [SERVICE]),
    "latency": ("Latency", LATENCY, [SCHEME, PARAMETER_SET, QUANTILE]),
    "ingest": ("Ingest", INGEST, []),
    "privacy": ("Privacy and errors", PRIVACY, [SERVICE]),
}


# --- writing -----------------------------------------------------------------------------------------


def _placed(rows: Rows) -> Iterator[Json]:
    """Yields the panels' JSON: rows below each other, with their panels from left to right."""
    number, y = 0, 0
    for title, panels in rows.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
            "panels": [],
        }
        x, y, height = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield panel.json(number, x, y)
            x, height = x + panel.width, max(height, panel.height)
        y += height


def dashboard(name: str) -> Json:
    """Returns a dashboard in Grafana's JSON model."""
    title, rows, variables = DASHBOARDS[name]
    link = {
        "title": "Blindsight",
        "type": "dashboards",
        "tags": ["blindsight"],
        "asDropdown": True,
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return {
        "uid": f"blindsight-{name}",
        "title": f"Blindsight: {title}",
        "tags": ["blindsight"],
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [link],
        "templating": {"list": [SOURCE, *variables]},
        "panels": list(_placed(rows)),
    }


def text(name: str) -> str:
    """Returns the text of a dashboard's file."""
    return json.dumps(dashboard(name), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for each in DASHBOARDS:
        (FOLDER / f"{each}.json").write_text(text(each))
