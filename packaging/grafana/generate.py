#!/usr/bin/env python3
"""Writes Grafana's dashboards: three for Prometheus, three for ClickHouse.

    packaging/grafana/generate.py             beside this file
    packaging/grafana/generate.py FOLDER      elsewhere
"""

import json
import pathlib
import sys

WIDTH = 24
FLOWS = ["udp", "tcp"]
# The events of docs/records.md are counted here, the first of a series too: `increase` does not see that one.
FRESH = "((increase({0}[{1}]) and last_over_time({0}[1h] offset {1})) or ({0} unless last_over_time({0}[1h] offset {1})))"
LINK = 'source=~"$source",target=~"$target"'
HOST = 'source=~"$source"'
RATE = "$__rate_interval"
GREEN_TO_RED = ["green", "yellow", "red"]


class Store:
    """What differs between the stores: how a query, a variable and a data source are written."""

    def __init__(self, key, plugin):
        self.key, self.source = key, {"type": plugin, "uid": "${datasource}"}

    def variable(self, name, query, several):
        more = {"query": query, "refresh": 2, "sort": 1, "datasource": self.source}
        if several:
            more |= {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}}
            more |= {"allValue": ".*"} if self.key == "prometheus" else {}
        return {"name": name, "label": name.capitalize(), "type": "query", **more}


class Prometheus(Store):
    def target(self, query, shape):
        format = {"table": "table", "heatmap": "heatmap"}.get(shape, "time_series")
        return {"expr": query, "format": format, "instant": shape in ("table", "stat"), "range": shape not in ("table", "stat")}


class ClickHouse(Store):
    def target(self, query, shape):
        is_table = shape in ("table", "stat")
        kind = {"queryType": "table" if is_table else "timeseries", "format": 1 if is_table else 0}
        return {"editorType": "sql", "rawSql": query, **kind}


def panel(store, kind, title, description, unit, queries, width=12, height=8, limits=None, **more):
    """Makes a panel of queries by legend. A matrix is a table with a row for each source."""
    shape = {"matrix": "table", "timeseries": "range"}.get(kind, kind)
    targets = []
    for number, (legend, query) in enumerate(queries.items()):
        target = {"refId": chr(ord("A") + number), "datasource": store.source, **store.target(query, shape)}
        targets.append(target | ({"legendFormat": legend} if store.key == "prometheus" else {}))
    defaults = {"unit": unit}
    if limits:
        steps = [{"color": color, "value": at} for color, at in zip(GREEN_TO_RED, [None, *limits])]
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}}
    made = {
        "type": {"matrix": "table"}.get(kind, kind),
        "title": title,
        "description": description,
        "datasource": store.source,
        "gridPos": {"w": width, "h": height},
        "targets": targets,
    }
    if kind == "matrix":
        defaults["custom"] = {"cellOptions": {"type": "color-background", "mode": "basic"}, "align": "center"}
        value = "Value" if store.key == "prometheus" else "value"
        fields = {"rowField": "source", "columnField": "target", "valueField": value, "emptyValue": "null"}
        made["transformations"] = [{"id": "groupingToMatrix", "options": fields}]
    if kind == "heatmap":
        made["options"] = {"calculate": False, "yAxis": {"unit": unit}, "color": {"mode": "scheme", "scheme": "Turbo"}}
    if kind == "timeseries":
        defaults["custom"] = {"showPoints": "never", "fillOpacity": 5, "spanNulls": False}
        made["options"] = {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}}
    made["fieldConfig"] = {"defaults": defaults, "overrides": []}
    return made | more


def dashboard(store, name, title, description, variables, panels):
    x = y = below = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y = 0, below
        place |= {"x": x, "y": y}
        x, below = x + place["w"], max(below, y + place["h"])
        one["id"] = number
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": store.source["type"]}
    return f"{store.key}-{name}.json", {
        "uid": f"latency-monitor-{store.key}-{name}",
        "title": f"latency-monitor: {title}",
        "description": description,
        "tags": ["latency-monitor", store.key],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source, *variables]},
        "links": [
            {"type": "dashboards", "title": "latency-monitor", "tags": ["latency-monitor", store.key], "asDropdown": True,
             "includeVars": True, "keepTime": True}
        ],
        "panels": panels,
    }


def choice(name, values):
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {"name": name, "label": name.capitalize(), "type": "custom", "query": ",".join(values), "options": options,
            "current": {"text": values[0], "value": values[0]}}


def text(name, value):
    return {"name": name, "label": name.capitalize(), "type": "textbox", "query": value,
            "current": {"text": value, "value": value}}


# Prometheus


def quantile(level, metric, select, by):
    """Returns a quantile from native histograms where there are some, else from classic ones."""
    native = f"histogram_quantile({level}, sum by ({by}) (rate({metric}{{{select}}}[{RATE}])))"
    classic = f"histogram_quantile({level}, sum by ({by}, le) (rate({metric}_bucket{{{select}}}[{RATE}])))"
    return f"{native} or {classic}"


def rate(metric, select, by, range=RATE):
    return f"sum by ({by}) (rate({metric}{{{select}}}[{range}]))"


def loss(by, range=RATE, prefix="${flow}_wan", lost="lost"):
    sent, unsent, lost = (rate(f"{prefix}_{name}_total", LINK, by, range) for name in ("sent", "unsent", lost))
    return f"({lost} + {unsent}) / ({sent} + {unsent})"


def fresh(metric, select, by, range):
    return f"sum by ({by}) {FRESH.format(f'{metric}{{{select}}}', range)}"


def prometheus():
    store = Prometheus("prometheus", "prometheus")
    sent = '{__name__=~"(udp_wan|tcp_wan|tcp_wan_latency)_sent_total"'
    sources = lambda several: store.variable("source", f"label_values({sent}}}, source)", several)
    targets = lambda several: store.variable("target", f'label_values({sent}, source=~"$source"}}, target)', several)
    hosts = store.variable("source", "label_values(monitor_resident_bytes, source)", True)
    flow = choice("flow", FLOWS)
    make = lambda *words, **more: panel(store, *words, **more)
    pair = "source, target"
    yield dashboard(store, "fleet", "fleet", "Each source against each target.", [sources(True), targets(True), flow], [
        make("matrix", "p99 of the round trip", "A row for each source, a column for each target, over the range shown.", "s",
             {"": quantile(0.99, "${flow}_wan_rtt_seconds", LINK, pair).replace(RATE, "$__range")}, 12, 10, [0.05, 0.2]),
        make("matrix", "Loss", "(lost + unsent) / (sent + unsent): 1 for a target that never answered or never resolved.",
             "percentunit", {"": loss(pair, "$__range")}, 12, 10, [0.001, 0.01]),
        make("timeseries", "The ten longest p99", "Of the flow chosen above.", "s",
             {"{{source}} > {{target}}": f"topk(10, {quantile(0.99, '${flow}_wan_rtt_seconds', LINK, pair)})"}),
        make("timeseries", "The ten greatest losses", "Probes that could not be sent count as lost.", "percentunit",
             {"{{source}} > {{target}}": f"topk(10, {loss(pair)})"}),
        make("table", "Without any answer", "Nearly every probe was lost of late, or could not be sent.", "percentunit",
             {"": f"{loss(pair)} > 0.99"}, 8),
        make("table", "Events", "Bursts, outages, changed routes and set clocks in the range shown.", "short",
             {"": f"{fresh('monitor_events_total', LINK, pair + ', event', '$__range')} > 0"}, 8),
        make("table", "Hosts: latest send", "p99 of how late a host sends. Do not blame the network for a host that is late.", "s",
             {"": quantile(0.99, "monitor_lateness_seconds", HOST, "source")}, 8, 8, [0.002, 0.01]),
    ])
    both = "direction"
    rtt = "${flow}_wan_rtt_seconds"
    yield dashboard(store, "target", "target", "One target, seen from one source.", [sources(False), targets(False), flow], [
        make("stat", "p50", "Median of the round trip.", "s", {"": quantile(0.5, rtt, LINK, pair)}, 6, 4),
        make("stat", "p99", "Of the round trip.", "s", {"": quantile(0.99, rtt, LINK, pair)}, 6, 4),
        make("stat", "Loss", "Probes that could not be sent count as lost.", "percentunit", {"": loss(pair)}, 6, 4, [0.001, 0.01]),
        make("stat", "Probes a second", "Slots of the schedule, of the flow chosen above.", "cps",
             {"": " + ".join(rate(f"${{flow}}_wan_{name}_total", LINK, pair) for name in ("sent", "unsent"))}, 6, 4),
        make("timeseries", "Round trip", "Percentiles, less the reflector's dwell where that is known.", "s",
             {f"p{level * 100:g}": quantile(level, rtt, LINK, pair) for level in (0.5, 0.9, 0.99, 0.999)}),
        make("heatmap", "Round trips", "Native histograms where there are some, else classic ones.", "s",
             {"{{le}}": f"sum(rate({rtt}{{{LINK}}}[{RATE}])) or sum by (le) (rate({rtt}_bucket{{{LINK}}}[{RATE}]))"}),
        make("timeseries", "Loss", "By kind of flow. Probes that could not be sent count as lost.", "percentunit",
             {"udp": loss(pair, prefix="udp_wan"), "tcp": loss(pair, prefix="tcp_wan"),
              "connect": loss(pair, prefix="tcp_wan_latency", lost="failed")}),
        make("timeseries", "Loss by direction", "Of native flows. Forward is toward the target.", "percentunit",
             {word: f"{rate('${flow}_wan_lost_' + word + '_total', LINK, pair)} / {rate('${flow}_wan_sent_total', LINK, pair)}"
              for word in ("forward", "reverse")}),
        make("timeseries", "Queueing by direction", "p99 of the one-way delay over the least one of its window.", "s",
             {"{{direction}}": quantile(0.99, "${flow}_wan_pdv_seconds", LINK, both)}),
        make("timeseries", "Bursts", "Queues that filled and drained, in each five minutes.", "short",
             {"{{direction}}": fresh("${flow}_wan_burst_total", LINK, both, "5m")}),
        make("timeseries", "Last burst, and the threshold", "Longest queueing delay and duration; what begins a burst.", "s",
             {"peak {{direction}}": f"max by (direction) (${{flow}}_wan_burst_peak_seconds{{{LINK}}})",
              "duration {{direction}}": f"max by (direction) (${{flow}}_wan_burst_duration_seconds{{{LINK}}})",
              "threshold {{direction}}": f"max by (direction) (${{flow}}_wan_burst_threshold_seconds{{{LINK}}})"}),
        make("timeseries", "Events", "In each five minutes.", "short",
             {"{{event}}": fresh("monitor_events_total", LINK, "event", "5m")}),
        make("timeseries", "The peer's clock", "Less this host's; the error bounds it.", "s",
             {"offset": f"max by ({pair}) (clock_offset_seconds{{{LINK}}})",
              "error": f"max by ({pair}) (clock_error_seconds{{{LINK}}})"}),
        make("timeseries", "Rate of the peer's clock", "How fast the offset grows: 1e-6 is a microsecond a second.", "none",
             {"skew": f"max by ({pair}) (clock_skew_ratio{{{LINK}}})"}),
        make("timeseries", "Connecting", "Time to establish a TCP connection.", "s",
             {f"p{level * 100:g}": quantile(level, "tcp_wan_latency_seconds", LINK, pair) for level in (0.5, 0.99)}),
        make("timeseries", "Out of the ordinary", "Replies late, again, in another order, unreadable; TCP's retransmits.", "cps",
             {**{word: rate(f"${{flow}}_wan_{word}_total", LINK, pair) for word in ("late", "duplicate", "reordered", "corrupt")},
              "retransmits": rate("tcp_wan_retransmits_total", LINK, pair)}),
    ])
    one = "source"
    by_backend = "source, backend"
    counted = lambda names: {name.replace("_", " ") + " {{source}}": rate(f"monitor_{name}_total", HOST, one) for name in names}
    yield dashboard(store, "host", "hosts", "The daemons and their hosts: whether a host is bad, not the network.", [hosts], [
        make("timeseries", "Lateness", "From when a probe was due until the kernel had it: p99.", "s",
             {"{{source}}": quantile(0.99, "monitor_lateness_seconds", HOST, one)}),
        make("timeseries", "In the host", "p99 of the time between the kernel's stamps and the process.", "s",
             {"send {{source}}": quantile(0.99, "monitor_send_gap_seconds", HOST, one),
              "receive {{source}}": quantile(0.99, "monitor_receive_gap_seconds", HOST, one)}),
        make("timeseries", "Not measured", "Slots missed because the host was late; packets without the kernel's stamp.", "cps",
             counted(["slots_missed", "stamps_missing_transmit", "stamps_missing_receive"])),
        make("timeseries", "This host's clock", "The kernel's bound on its error.", "s",
             {"{{source}}": f"max by (source) (monitor_clock_error_seconds{{{HOST}}})"}),
        make("table", "Clock synchronised", "1 if something keeps the clock to UTC.", "short",
             {"": f"min by (source) (monitor_clock_synchronised{{{HOST}}})"}, 6),
        make("table", "Clock set", "Times since the daemon started.", "short",
             {"": f"max by (source) (monitor_clock_steps_total{{{HOST}}})"}, 6),
        make("timeseries", "Processor", "Of one processor.", "percentunit",
             {"{{source}}": rate("monitor_cpu_seconds_total", HOST, one)}, 6),
        make("timeseries", "Memory", "Resident.", "bytes",
             {"{{source}}": f"max by (source) (monitor_resident_bytes{{{HOST}}})"}, 6),
        make("timeseries", "Backends: records", "Taken; retried attempts; dropped by the backend or for want of room.", "cps",
             {f"{name.replace('_', ' ')} {{{{source}}}} {{{{backend}}}}": rate(f"monitor_backend_{name}_total", HOST, by_backend)
              for name in ("sent", "retried", "dropped", "samples_dropped", "left_out")}),
        make("timeseries", "Backends: waiting", "For how long the oldest batch has waited.", "s",
             {"{{source}} {{backend}}": f"max by ({by_backend}) (monitor_backend_oldest_seconds{{{HOST}}})"}, 6),
        make("timeseries", "Backends: bytes that wait", "In memory and on disk.", "bytes",
             {"{{source}} {{backend}}": f"max by ({by_backend}) (monitor_backend_queued_bytes{{{HOST}}})"}, 6),
        make("timeseries", "Reflector", "Requests answered, and those that were not and why.", "cps",
             counted([f"responder_{word}" for word in ("answered", "refused", "denied", "limited", "unauthentic", "corrupt")])),
        make("timeseries", "Scrapes", "Requests for the metrics that were answered, and series that are kept for them.", "short",
             {"scrapes a second {{source}}": rate("monitor_http_scrapes_total", HOST, one),
              "series {{source}}": f"max by (source) (monitor_http_series{{{HOST}}})"}),
    ])


# ClickHouse

PICK = "Source IN (${source:singlequote}) AND Target IN (${target:singlequote})"
PICK_HOST = "Source IN (${source:singlequote})"
SPREAD = "${table}_windows ARRAY JOIN mapKeys(Buckets) AS Value, mapValues(Buckets) AS Number"


def windows(what, metric, select=PICK, group=""):
    """Returns a query over the histograms of windows: they add up, percentiles do not."""
    return (
        f"SELECT {what} FROM {SPREAD} WHERE $__timeFilter(EndedAt) AND MetricName = '{metric}' AND {select}"
        + (f" GROUP BY {group} ORDER BY {group}" if group else "")
    )


def by_time(levels, metric, select=PICK, label=""):
    names = {level: f"p{level * 100:g}".replace(".", "") for level in levels}
    found = ", ".join(f"quantileExactWeighted({level})(Value, Number) / 1e9 AS {name}" for level, name in names.items())
    label, group = (f"{label} AS label, ", "time, label") if label else ("", "time")
    return windows(f"$__timeInterval(EndedAt) AS time, {label}{found}", metric, select, group)


def figures(what, names, select=PICK, group="", having=""):
    names = ", ".join(f"'{name}'" for name in names)
    query = f"SELECT {what} FROM ${{table}} WHERE $__timeFilter(Timestamp) AND MetricName IN ({names}) AND {select}"
    if group:
        query += f" GROUP BY {group}" + (f" HAVING {having}" if having else "") + f" ORDER BY {group}"
    return query


def lost_share(keys, group, prefix="${flow}.wan", lost="lost", having=""):
    share = f"sumIf(MetricValue, MetricName != '{prefix}.sent') / sumIf(MetricValue, MetricName != '{prefix}.{lost}') AS value"
    return figures(f"{keys}, {share}", [f"{prefix}.{name}" for name in ("sent", "unsent", lost)], group=group, having=having)


def counts(names, select=PICK, label="MetricName"):
    """Returns counts a second by time."""
    return figures(f"$__timeInterval(Timestamp) AS time, {label} AS label, sum(MetricValue) / $__interval_s AS value",
                   names, select, "time, label")


def gauge(name, scale, select=PICK, label="MetricName"):
    return figures(f"$__timeInterval(Timestamp) AS time, {label} AS label, max(MetricValue) / {scale} AS value", [name], select,
                   "time, label")


def clickhouse():
    store = ClickHouse("clickhouse", "grafana-clickhouse-datasource")
    day = "Timestamp > now() - INTERVAL 1 DAY AND MetricName IN ('udp.wan.sent', 'tcp.wan.sent', 'tcp.wan.latency.sent')"
    sources = lambda several: store.variable(
        "source", f"SELECT DISTINCT Source FROM ${{table}} WHERE {day} ORDER BY Source", several
    )
    targets = lambda several: store.variable(
        "target", f"SELECT DISTINCT Target FROM ${{table}} WHERE {day} AND {PICK_HOST} ORDER BY Target", several
    )
    hosts = store.variable("source", "SELECT DISTINCT Source FROM ${table} WHERE Timestamp > now() - INTERVAL 1 DAY "
                           "AND MetricName = 'monitor.resident' ORDER BY Source", True)
    table, flow = text("table", "metrics"), choice("flow", FLOWS)
    make = lambda *words, **more: panel(store, *words, **more)
    keys = "Source AS source, Target AS target"
    link, time = "concat(Source, ' > ', Target)", "$__timeInterval(Timestamp) AS time"
    p99 = "quantileExactWeighted(0.99)(Value, Number) / 1e9 AS value"
    events = "FROM ${table}_events WHERE $__timeFilter(Timestamp)"
    yield dashboard(store, "fleet", "fleet (ClickHouse)", "Each source against each target. Needs `mode` \"windows\" or \"both\".",
                    [table, sources(True), targets(True), flow], [
        make("matrix", "p99 of the round trip", "From the histograms of all windows in the range shown.", "s",
             {"": windows(f"{keys}, {p99}", "${flow}.wan.rtt", group="source, target")}, 12, 10, [0.05, 0.2]),
        make("matrix", "Loss", "(lost + unsent) / (sent + unsent): 1 for a target that never answered or never resolved.",
             "percentunit", {"": lost_share(keys, "source, target")}, 12, 10, [0.001, 0.01]),
        make("timeseries", "p99", "Of the flow chosen above.", "s", {"": by_time([0.99], "${flow}.wan.rtt", label=link)}),
        make("timeseries", "Loss", "Probes that could not be sent count as lost.", "percentunit",
             {"": lost_share(f"{time}, {link} AS label", "time, label")}),
        make("table", "Without any answer", "Nearly every probe of the range shown was lost, or could not be sent.", "percentunit",
             {"": lost_share(keys, "source, target", having="value > 0.99")}),
        make("table", "Events", "The newest hundred.", "short",
             {"": f"SELECT Timestamp AS time, Event AS event, {keys}, JSONExtractString(Details, 'flow') AS flow, "
                  f"JSONExtractString(Details, 'direction') AS direction {events} AND {PICK_HOST} ORDER BY time DESC LIMIT 100"}),
    ])
    bound = "exp10(ceil(log10(greatest(Value, 1)) * 8) / 8) / 1e9"
    details = ", ".join(f"JSONExtractInt(Details, '{name}') / 1e9 AS {name}" for name in ("duration", "peak", "mean", "base"))
    directions = ["${flow}.wan.lost.forward", "${flow}.wan.lost.reverse"]
    ordinary = [f"${{flow}}.wan.{word}" for word in ("late", "duplicate", "reordered", "corrupt")] + ["tcp.wan.retransmits"]
    yield dashboard(store, "target", "target (ClickHouse)", "One target, from one source. Needs `mode` \"windows\" or \"both\".",
                    [table, sources(False), targets(False), flow], [
        make("stat", "p99", "Of the round trip, over the range shown.", "s", {"": windows(p99, "${flow}.wan.rtt")}, 8, 4),
        make("stat", "Loss", "Probes that could not be sent count as lost.", "percentunit",
             {"": lost_share("Target AS target", "target")}, 8, 4, [0.001, 0.01]),
        make("stat", "Bursts", "In the range shown, of all flows.", "short",
             {"": f"SELECT count() AS value {events} AND {PICK} AND Event = 'burst'"}, 8, 4),
        make("timeseries", "Round trip", "Percentiles of the histograms of windows, less the reflector's dwell.", "s",
             {"": by_time([0.5, 0.9, 0.99, 0.999], "${flow}.wan.rtt")}),
        make("heatmap", "Round trips", "Samples by upper bounds: eight to a power of ten.", "s",
             {"": windows(f"$__timeInterval(EndedAt) AS time, toString({bound}) AS le, sum(Number) AS value", "${flow}.wan.rtt",
                          group="time, le")}),
        make("timeseries", "Loss", "By kind of flow. Probes that could not be sent count as lost.", "percentunit",
             {"udp": lost_share(f"{time}, 'udp' AS label", "time, label", "udp.wan"),
              "tcp": lost_share(f"{time}, 'tcp' AS label", "time, label", "tcp.wan"),
              "connect": lost_share(f"{time}, 'connect' AS label", "time, label", "tcp.wan.latency", "failed")}),
        make("timeseries", "Loss by direction", "Probes a second; native flows. Forward is toward the target.", "cps",
             {"": counts(directions)}),
        make("timeseries", "Queueing by direction", "p99 of the one-way delay over the least one of its window.", "s",
             {"": by_time([0.99], "${flow}.wan.pdv", label="Tags['direction']")}),
        make("table", "Bursts", "The newest hundred, of all flows: duration, and queueing delay over the base.", "s",
             {"": f"SELECT Timestamp AS time, JSONExtractString(Details, 'flow') AS flow, JSONExtractString(Details, 'direction') "
                  f"AS direction, {details}, JSONExtractInt(Details, 'lost') AS lost {events} AND {PICK} AND Event = 'burst' "
                  "ORDER BY time DESC LIMIT 100"}),
        make("timeseries", "Events", "Of each kind.", "short",
             {"": f"SELECT {time}, Event AS label, count() AS value {events} AND {PICK} GROUP BY time, label "
                  "ORDER BY time, label"}),
        make("timeseries", "The peer's clock", "Less this host's; the error bounds it.", "s",
             {"offset": gauge("clock.offset", "1e9"), "error": gauge("clock.error", "1e9")}),
        make("timeseries", "Rate of the peer's clock", "How fast the offset grows: 1e-6 is a microsecond a second.", "none",
             {"skew": gauge("clock.skew", "1e9")}),
        make("timeseries", "Connecting", "Time to establish a TCP connection.", "s",
             {"": by_time([0.5, 0.99], "tcp.wan.latency")}),
        make("timeseries", "Out of the ordinary", "Replies late, again, in another order, unreadable; TCP's retransmits.", "cps",
             {"": counts(ordinary)}),
    ])
    refusals = ("answered", "refused", "denied", "limited", "unauthentic", "corrupt")
    named = "concat(substring(MetricName, 9), ' ', Source)"
    of_backend = "concat(substring(MetricName, 17), ' ', Source, ' ', Tags['backend'])"
    host = {"select": PICK_HOST, "label": "Source"}
    several = {"select": PICK_HOST, "label": named}
    yield dashboard(store, "host", "hosts (ClickHouse)", "The daemons and their hosts: whether a host is bad, not the network.",
                    [table, hosts], [
        make("timeseries", "Lateness", "From when a probe was due until the kernel had it: p99.", "s",
             {"": by_time([0.99], "monitor.lateness", **host)}),
        make("timeseries", "In the host", "p99 of the time between the kernel's stamps and the process.", "s",
             {"send": by_time([0.99], "monitor.send_gap", PICK_HOST, "concat('send ', Source)"),
              "receive": by_time([0.99], "monitor.receive_gap", PICK_HOST, "concat('receive ', Source)")}),
        make("timeseries", "Not measured", "Slots missed because the host was late; packets without the kernel's stamp.", "cps",
             {"": counts([f"monitor.{name}" for name in ("slots_missed", "stamps_missing.transmit", "stamps_missing.receive")],
                         **several)}),
        make("timeseries", "This host's clock", "The kernel's bound on its error.", "s",
             {"": gauge("monitor.clock.error", "1e9", **host)}),
        make("table", "Clocks", "1 if something keeps the clock to UTC; how often it was set in the range shown.", "short",
             {"": figures("Source AS source, minIf(MetricValue, MetricName = 'monitor.clock.synchronised') AS synchronised, "
                          "sumIf(MetricValue, MetricName = 'monitor.clock_steps') AS steps",
                          ["monitor.clock.synchronised", "monitor.clock_steps"], PICK_HOST, "source")}),
        make("timeseries", "Processor", "Of one processor.", "percentunit",
             {"": figures(f"{time}, Source AS label, sum(MetricValue) / 1e9 / $__interval_s AS value", ["monitor.cpu"], PICK_HOST,
                          "time, label")}, 6),
        make("timeseries", "Memory", "Resident.", "bytes", {"": gauge("monitor.resident", "1", **host)}, 6),
        make("timeseries", "Backends: records", "Taken; retried attempts; dropped by the backend or for want of room.", "cps",
             {"": counts([f"monitor.backend.{name}" for name in ("sent", "retried", "dropped", "samples_dropped", "left_out")],
                         PICK_HOST, of_backend)}),
        make("timeseries", "Backends: waiting", "For how long the oldest batch has waited.", "s",
             {"": gauge("monitor.backend.oldest", "1e9", PICK_HOST, of_backend)}, 6),
        make("timeseries", "Backends: bytes that wait", "In memory and on disk.", "bytes",
             {"": gauge("monitor.backend.queued_bytes", "1", PICK_HOST, of_backend)}, 6),
        make("timeseries", "Reflector", "Requests answered, and those that were not and why.", "cps",
             {"": counts([f"monitor.responder.{word}" for word in refusals], **several)}),
    ])


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    for name, made in [*prometheus(), *clickhouse()]:
        (folder / name).write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
