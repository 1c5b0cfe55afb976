//! The DDL of the tables that the backend fills.

use std::fmt::Write as _;

/// One table.
struct Table {
    suffix: &'static str,
    columns: &'static [&'static str],
    engine: &'static str,
    partition: &'static str,
    order: &'static str,
    /// The column that rows are aged by, and the days that they are kept.
    kept: (&'static str, u32),
}

/// A roll-up of one table into another.
struct RollUp {
    from: &'static str,
    to: &'static str,
    select: &'static str,
}

/// Returns the statements that make the tables and the roll-ups, and example queries. With a
/// cluster the tables are replicated, and each has a distributed table over it.
pub fn ddl(database: &str, table: &str, cluster: Option<&str>) -> String {
    let mut out = String::new();
    let on = cluster.map_or(String::new(), |name| {
        format!(" ON CLUSTER {}", quoted(name))
    });
    let local = if cluster.is_some() { "_local" } else { "" };
    let name = |suffix: &str| {
        let table = quoted(&format!("{table}{suffix}"));
        format!("{}.{table}", quoted(database))
    };
    let (prefix, window) = match cluster {
        Some(_) => ("Replicated", "replicated_deduplication_window"),
        None => ("", "non_replicated_deduplication_window"),
    };
    for Table {
        suffix,
        columns,
        engine,
        partition,
        order,
        kept: (time, days),
    } in TABLES
    {
        let own = name(&format!("{suffix}{local}"));
        let _ = write!(
            out,
            "CREATE TABLE IF NOT EXISTS {own}{on}\n(\n    {columns}\n)\nENGINE = {prefix}{engine}\n\
             PARTITION BY {partition}\nORDER BY ({order})\n\
             TTL toDateTime({time}) + INTERVAL {days} DAY\nSETTINGS {window} = {DEDUPLICATED};\n\n",
            columns = columns.join(",\n    "),
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
    for RollUp { from, to, select } in ROLL_UPS {
        let _ = write!(
            out,
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {}{on} TO {} AS\n{};\n\n",
            name(&format!("{to}_mv")),
            name(&format!("{to}{local}")),
            select.replace("{from}", &name(&format!("{from}{local}"))),
        );
    }
    for (what, from, when) in EXAMPLES {
        let _ = write!(
            out,
            "-- {what}:\n--   SELECT MetricName,{when}\n\
             --          quantilesExactWeighted(0.5, 0.9, 0.99, 0.999, 0.9999)(Value, Number) AS Quantiles\n\
             --   FROM {} ARRAY JOIN mapKeys(Buckets) AS Value, mapValues(Buckets) AS Number\n\
             --   GROUP BY ALL ORDER BY ALL;\n",
            name(from),
        );
    }
    out
}

/// The number of inserts that a table remembers to detect one that is repeated. A batch is
/// repeated before the next one is sent, so a thousand daemons can share a table.
const DEDUPLICATED: u32 = 1000;

const TABLES: [Table; 5] = [
    Table {
        suffix: "",
        columns: SAMPLES,
        engine: "MergeTree",
        partition: "toDate(Timestamp)",
        order: "MetricName, Source, Target, Timestamp",
        kept: ("Timestamp", 30),
    },
    Table {
        suffix: "_windows",
        columns: WINDOWS,
        engine: "MergeTree",
        partition: "toYYYYMM(EndedAt)",
        order: "MetricName, Source, Target, EndedAt",
        kept: ("EndedAt", 365),
    },
    Table {
        suffix: "_events",
        columns: EVENTS,
        engine: "MergeTree",
        partition: "toYYYYMM(Timestamp)",
        order: "Event, Source, Target, Timestamp",
        kept: ("Timestamp", 365),
    },
    Table {
        suffix: "_hourly",
        columns: HOURLY,
        engine: "AggregatingMergeTree",
        partition: "toYYYYMM(Hour)",
        order: "MetricName, Source, Target, Hour",
        kept: ("Hour", 730),
    },
    Table {
        suffix: "_windows_hourly",
        columns: HOURLY,
        engine: "AggregatingMergeTree",
        partition: "toYYYYMM(Hour)",
        order: "MetricName, Source, Target, Hour",
        kept: ("Hour", 730),
    },
];

/// Returns a name as an SQL identifier, in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// The columns of the tables that we fill, with their suffixes.
#[cfg(test)]
pub(super) const COLUMNS: [(&str, &[&str]); 3] =
    [("", SAMPLES), ("_windows", WINDOWS), ("_events", EVENTS)];

const SAMPLES: &[&str] = &[
    "MetricName LowCardinality(String)",
    "Timestamp DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    "MetricValue Int64 CODEC(T64, ZSTD(1))",
    "Tags Map(LowCardinality(String), String) CODEC(ZSTD(1))",
    "Source LowCardinality(String)",
    "Target LowCardinality(String)",
    "Stamp LowCardinality(String)",
    "Seq UInt64 CODEC(DoubleDelta, ZSTD(1))",
    "Dwell Nullable(UInt32)",
    "InsertedAt DateTime DEFAULT now() CODEC(DoubleDelta, ZSTD(1))",
];

const WINDOWS: &[&str] = &[
    "MetricName LowCardinality(String)",
    "StartedAt DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    "EndedAt DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    "Tags Map(LowCardinality(String), String) CODEC(ZSTD(1))",
    "Source LowCardinality(String)",
    "Target LowCardinality(String)",
    "Stamp LowCardinality(String)",
    "Samples UInt64 CODEC(T64, ZSTD(1))",
    "Min Int64 CODEC(T64, ZSTD(1))",
    "Mean Int64 CODEC(T64, ZSTD(1))",
    "Max Int64 CODEC(T64, ZSTD(1))",
    "StdDev UInt64 CODEC(T64, ZSTD(1))",
    "P50 Int64 CODEC(T64, ZSTD(1))",
    "P90 Int64 CODEC(T64, ZSTD(1))",
    "P99 Int64 CODEC(T64, ZSTD(1))",
    "P999 Int64 CODEC(T64, ZSTD(1))",
    "P9999 Int64 CODEC(T64, ZSTD(1))",
    "OutOfRange UInt64 CODEC(T64, ZSTD(1))",
    "Buckets Map(Int64, UInt64) CODEC(ZSTD(1))",
    "InsertedAt DateTime DEFAULT now() CODEC(DoubleDelta, ZSTD(1))",
];

const EVENTS: &[&str] = &[
    "Event LowCardinality(String)",
    "Timestamp DateTime64(9, 'UTC') CODEC(DoubleDelta, ZSTD(1))",
    "Clock LowCardinality(String)",
    "Step Int64",
    "Details String CODEC(ZSTD(1))",
    "Tags Map(LowCardinality(String), String)",
    "Source LowCardinality(String)",
    "Target LowCardinality(String)",
    "InsertedAt DateTime DEFAULT now()",
];

const HOURLY: &[&str] = &[
    "MetricName LowCardinality(String)",
    "Source LowCardinality(String)",
    "Target LowCardinality(String)",
    "Hour DateTime('UTC')",
    "Samples SimpleAggregateFunction(sum, UInt64)",
    "Least SimpleAggregateFunction(min, Int64)",
    "Greatest SimpleAggregateFunction(max, Int64)",
    "Buckets SimpleAggregateFunction(sumMap, Map(Int64, UInt64)) CODEC(ZSTD(1))",
];

const ROLL_UPS: [RollUp; 2] = [
    RollUp {
        from: "",
        to: "_hourly",
        select: SAMPLES_ROLL_UP,
    },
    RollUp {
        from: "_windows",
        to: "_windows_hourly",
        select: WINDOWS_ROLL_UP,
    },
];

/// Groups samples by the buckets that windows have: exact below 2,048, and from there on the
/// greatest value of 1,024 ranges in each power of two. Counts and gauges have no stamp, and no
/// percentiles.
const SAMPLES_ROLL_UP: &str = "SELECT
    MetricName, Source, Target, Hour, sum(Number) AS Samples, min(Low) AS Least, max(High) AS Greatest,
    mapFromArrays(groupArray(Bucket), groupArray(Number)) AS Buckets
FROM
(
    WITH
        abs(MetricValue) AS Size,
        toUInt8(floor(log2(greatest(Size, 1024)))) - 10 AS Shift,
        bitShiftLeft(bitShiftRight(Size, Shift) + 1, Shift) - 1 AS Highest
    SELECT
        MetricName, Source, Target, toStartOfHour(toDateTime(Timestamp, 'UTC')) AS Hour,
        if(MetricValue < 0, -toInt64(Highest), toInt64(Highest)) AS Bucket,
        count() AS Number, min(MetricValue) AS Low, max(MetricValue) AS High
    FROM {from}
    WHERE Stamp != ''
    GROUP BY MetricName, Source, Target, Hour, Bucket
)
GROUP BY MetricName, Source, Target, Hour";

const WINDOWS_ROLL_UP: &str = "SELECT
    MetricName, Source, Target, toStartOfHour(toDateTime(EndedAt, 'UTC')) AS Hour,
    sum(w.Samples) AS Samples, min(w.Min) AS Least, max(w.Max) AS Greatest, sumMap(w.Buckets) AS Buckets
FROM {from} AS w
GROUP BY MetricName, Source, Target, Hour";

/// The example queries: what each shows, from which table, grouped by which time.
const EXAMPLES: [(&str, &str, &str); 3] = [
    (
        "Percentiles over all hosts, by hour, from windows",
        "_windows",
        " toStartOfHour(EndedAt) AS Hour,",
    ),
    (
        "By day, from the roll-up of windows",
        "_windows_hourly",
        " toDate(Hour) AS Day,",
    ),
    (
        "By day, from the roll-up of samples",
        "_hourly",
        " toDate(Hour) AS Day,",
    ),
];
