//! Records for the tests of the backends.

use std::sync::Arc;

use crate::proto::Wall;
use crate::record::{Record, Tags};

/// A gauge that only its value tells from others.
pub(super) fn gauge(value: i64) -> Record {
    Record::Gauge {
        name: "clock.offset",
        tags: Arc::new(Tags::Host("a".into())),
        at: Wall::from_unix_nanos(1_768_219_134_587_069_267),
        value,
    }
}
