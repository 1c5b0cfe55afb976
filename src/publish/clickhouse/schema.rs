//! The DDL of the tables that the backend fills.

use std::fmt::Write as _;

use crate::publish::clickhouse::table::{FIELDS, Field};

/// One table.
struct Table {
    suffix: &'static str,
    engine: &'static str,
    /// The function of the time that tells the partition.
    partition: &'static str,
    /// The column that rows are sorted by first.
    first: &'static str,
    /// The column that rows are aged by.
    time: &'static str,
    /// The days that rows are kept.
    days: u32,
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
    for (kind, made) in TABLES.iter().enumerate() {
        let Table {
            suffix,
            engine,
            partition,
            first,
            time,
            days,
        } = made;
        let own = name(&format!("{suffix}{local}"));
        let _ = write!(
            out,
            "CREATE TABLE IF NOT EXISTS {own}{on}\n(\n    {columns}\n)\nENGINE = {prefix}{engine}\n\
             PARTITION BY {partition}({time})\nORDER BY ({first}, Source, Target, {time})\n\
             TTL toDateTime({time}) + INTERVAL {days} DAY\nSETTINGS {window} = {DEDUPLICATED};\n\n",
            columns = columns(kind).join(",\n    "),
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
    for (from, to, select) in ROLL_UPS {
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

/// The tables: first those that we fill, in the order of their fields.
const TABLES: [Table; 5] = [
    Table {
        suffix: "",
        engine: "MergeTree",
        partition: "toDate",
        first: "MetricName",
        time: "Timestamp",
        days: 30,
    },
    Table {
        suffix: "_windows",
        engine: "MergeTree",
        partition: "toYYYYMM",
        first: "MetricName",
        time: "EndedAt",
        days: 365,
    },
    Table {
        suffix: "_events",
        engine: "MergeTree",
        partition: "toYYYYMM",
        first: "Event",
        time: "Timestamp",
        days: 365,
    },
    hourly("_hourly"),
    hourly("_windows_hourly"),
];

const fn hourly(suffix: &'static str) -> Table {
    Table {
        suffix,
        engine: "AggregatingMergeTree",
        partition: "toYYYYMM",
        first: "MetricName",
        time: "Hour",
        days: 730,
    }
}

/// The definitions of the columns of a table.
fn columns(kind: usize) -> Vec<String> {
    let defined = |field: &Field| format!("{} {}", field.name, field.definition);
    match FIELDS.get(kind) {
        Some(fields) => fields.iter().map(defined).collect(),
        None => HOURLY.map(str::to_owned).into(),
    }
}

/// Returns a name as an SQL identifier, in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

const HOURLY: [&str; 8] = [
    "MetricName LowCardinality(String)",
    "Source LowCardinality(String)",
    "Target LowCardinality(String)",
    "Hour DateTime('UTC')",
    "Samples SimpleAggregateFunction(sum, UInt64)",
    "Least SimpleAggregateFunction(min, Int64)",
    "Greatest SimpleAggregateFunction(max, Int64)",
    "Buckets SimpleAggregateFunction(sumMap, Map(Int64, UInt64)) CODEC(ZSTD(1))",
];

/// The roll-ups: from which table, to which, and how.
const ROLL_UPS: [(&str, &str, &str); 2] = [
    ("", "_hourly", SAMPLES_ROLL_UP),
    ("_windows", "_windows_hourly", WINDOWS_ROLL_UP),
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
