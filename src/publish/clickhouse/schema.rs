//! The tables that the backend fills best, as DDL.

use std::fmt::Write as _;

use crate::publish::clickhouse::quoted;

/// The statements that make the tables and the roll-up, with an example query; with a cluster in their
/// replicated form, and a distributed table over each.
pub fn ddl(database: &str, table: &str, cluster: Option<&str>) -> String {
    let mut out = String::new();
    let on = cluster.map_or(String::new(), |name| {
        format!(" ON CLUSTER {}", quoted(name))
    });
    let local = if cluster.is_some() { "_local" } else { "" };
    let name = |suffix: &str| {
        format!(
            "{}.{}",
            quoted(database),
            quoted(&format!("{table}{suffix}"))
        )
    };
    let prefix = if cluster.is_some() { "Replicated" } else { "" };
    let window = if cluster.is_some() {
        "replicated_deduplication_window = 1000"
    } else {
        "non_replicated_deduplication_window = 1000"
    };
    let tables = [
        (
            "",
            SAMPLES,
            "MergeTree",
            "Timestamp",
            "MetricName, Source, Target, Timestamp",
            30,
        ),
        (
            "_windows",
            WINDOWS,
            "MergeTree",
            "EndedAt",
            "MetricName, Source, Target, EndedAt",
            365,
        ),
        (
            "_events",
            EVENTS,
            "MergeTree",
            "Timestamp",
            "Event, Source, Target, Timestamp",
            365,
        ),
        (
            "_hourly",
            HOURLY,
            "AggregatingMergeTree",
            "Hour",
            "MetricName, Source, Target, Hour",
            730,
        ),
    ];
    for (suffix, columns, engine, time, order, days) in tables {
        let own = name(&format!("{suffix}{local}"));
        let _ = write!(
            out,
            "CREATE TABLE IF NOT EXISTS {own}{on}\n(\n{columns})\nENGINE = {prefix}{engine}\n\
             PARTITION BY toDate({time})\nORDER BY ({order})\n\
             TTL toDateTime({time}) + INTERVAL {days} DAY\nSETTINGS {window};\n\n"
        );
        if let Some(cluster) = cluster {
            let _ = write!(
                out,
                "CREATE TABLE IF NOT EXISTS {}{on} AS {own}\nENGINE = Distributed({}, {}, {}, \
                 cityHash64(Source, Target));\n\n",
                name(suffix),
                quoted(cluster),
                quoted(database),
                quoted(&format!("{table}{suffix}{local}")),
            );
        }
    }
    let _ = write!(
        out,
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {view}{on} TO {to} AS\n{ROLL_UP}FROM {from}\n\
         WHERE Stamp != ''\nGROUP BY MetricName, Source, Target, Hour;\n\n\
         -- The percentiles of a fleet by day, from the roll-up:\n\
         --   SELECT toDate(Hour) AS Day, MetricName,\n\
         --          quantilesTDigestMerge(0.5, 0.9, 0.99, 0.999)(Quantiles)\n\
         --   FROM {hourly} GROUP BY Day, MetricName ORDER BY Day, MetricName;\n\
         -- The histograms of a fleet, from windows, merged without error:\n\
         --   SELECT MetricName, sumMap(Buckets) FROM {windows} GROUP BY MetricName;\n",
        view = name("_hourly_mv"),
        to = name(&format!("_hourly{local}")),
        from = name(local),
        hourly = name("_hourly"),
        windows = name("_windows"),
    );
    out
}

const SAMPLES: &str = "    MetricName LowCardinality(String),
    Timestamp DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    MetricValue Int64 CODEC(T64, ZSTD(1)),
    Tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Source LowCardinality(String),
    Target LowCardinality(String),
    Stamp LowCardinality(String),
    Seq UInt64 CODEC(DoubleDelta, ZSTD(1)),
    Dwell Nullable(UInt32),
    InsertedAt DateTime DEFAULT now() CODEC(DoubleDelta, ZSTD(1))
";

const WINDOWS: &str = "    MetricName LowCardinality(String),
    StartedAt DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    EndedAt DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    Tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Source LowCardinality(String),
    Target LowCardinality(String),
    Stamp LowCardinality(String),
    Samples UInt64 CODEC(T64, ZSTD(1)),
    Min Int64 CODEC(T64, ZSTD(1)),
    Mean Int64 CODEC(T64, ZSTD(1)),
    Max Int64 CODEC(T64, ZSTD(1)),
    StdDev UInt64 CODEC(T64, ZSTD(1)),
    OutOfRange UInt64 CODEC(T64, ZSTD(1)),
    Buckets Map(Int64, UInt64) CODEC(ZSTD(1)),
    InsertedAt DateTime DEFAULT now()
";

const EVENTS: &str = "    Event LowCardinality(String),
    Timestamp DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    Clock LowCardinality(String),
    Step Int64,
    Tags Map(LowCardinality(String), String),
    Source LowCardinality(String),
    Target LowCardinality(String),
    InsertedAt DateTime DEFAULT now()
";

const HOURLY: &str = "    MetricName LowCardinality(String),
    Source LowCardinality(String),
    Target LowCardinality(String),
    Hour DateTime('UTC'),
    Samples SimpleAggregateFunction(sum, UInt64),
    Least SimpleAggregateFunction(min, Int64),
    Greatest SimpleAggregateFunction(max, Int64),
    Quantiles AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99, 0.999), Int64)
";

const ROLL_UP: &str = "SELECT
    MetricName, Source, Target, toStartOfHour(toDateTime(Timestamp, 'UTC')) AS Hour,
    count() AS Samples, min(MetricValue) AS Least, max(MetricValue) AS Greatest,
    quantilesTDigestState(0.5, 0.9, 0.99, 0.999)(MetricValue) AS Quantiles
";
