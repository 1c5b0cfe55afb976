//! The [`Choice`]: which metrics a backend gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::record::event::Event;
use crate::record::metrics::Metric;

/// Which metrics and events a backend gets: all of them unless told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice(Option<Arc<Chosen>>);

#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    metrics: BTreeSet<&'static str>,
    /// Kinds of events that were named themselves. For all others the metrics decide that count them.
    events: BTreeMap<&'static str, bool>,
}

/// Why metrics cannot be chosen so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// No metric and no kind of events has such a name.
    #[error("no metric is called {0:?}")]
    Unknown(String),
    /// All that is named is excluded again.
    #[error("leaves no metric")]
    Nothing,
}

impl Choice {
    /// Every metric.
    pub const ALL: Self = Self(None);

    /// Chooses metrics by their names. A `*` stands for any part of a name, and a `!` in front excludes. The last
    /// name that is like a metric's own decides. Where none is, a metric is chosen if the first name excludes. A name
    /// that is like no metric's is that of kinds of events, as `burst`.
    pub fn of<S: AsRef<str>>(names: &[S]) -> Result<Self, ChoiceError> {
        let rule = |name: &S| match name.as_ref().strip_prefix('!') {
            Some(glob) => (glob.to_owned(), false),
            None => (name.as_ref().to_owned(), true),
        };
        let rules: Vec<(String, bool)> = names.iter().map(rule).collect();
        let is_of_metrics =
            |(glob, _): &&(String, bool)| Metric::all().any(|it| is_like(it.name, glob));
        let mut events = BTreeMap::new();
        for (glob, is_wanted) in rules.iter().filter(|rule| !is_of_metrics(rule)) {
            let kinds = Event::NAMES.into_iter();
            let named: Vec<&str> = kinds.filter(|kind| is_like(kind, glob)).collect();
            if named.is_empty() {
                return Err(ChoiceError::Unknown(glob.clone()));
            }
            events.extend(named.into_iter().map(|kind| (kind, *is_wanted)));
        }
        let others = rules.first().is_none_or(|(_, is_wanted)| !is_wanted);
        let is_chosen = |metric: &&Metric| {
            let last = rules
                .iter()
                .rev()
                .find(|(glob, _)| is_like(metric.name, glob));
            last.map_or(others, |(_, is_wanted)| *is_wanted)
        };
        let metrics: BTreeSet<_> = Metric::all()
            .filter(is_chosen)
            .map(|metric| metric.name)
            .collect();
        let (has_events, has_all) = (events.values().any(|it| *it), events.values().all(|it| *it));
        match metrics.len() {
            0 if !has_events => Err(ChoiceError::Nothing),
            all if all == Metric::all().count() && has_all => Ok(Self::ALL),
            _ => Ok(Self(Some(Arc::new(Chosen { metrics, events })))),
        }
    }

    /// True if a metric is chosen.
    pub fn has(&self, metric: &Metric) -> bool {
        let chosen = self.0.as_ref();
        chosen.is_none_or(|chosen| chosen.metrics.contains(metric.name))
    }

    /// True if the event's kind is chosen, or, where that is not named, a metric that it counts in.
    pub fn has_event(&self, event: &Event) -> bool {
        let named = self.0.as_ref().map(|chosen| &chosen.events);
        if let Some(is_wanted) = named.and_then(|events| events.get(event.name())) {
            return *is_wanted;
        }
        event.metrics().any(|metric| self.has(metric))
    }
}

/// True if a name is like a glob, in which `*` stands for anything.
fn is_like(name: &str, glob: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else {
        return name == glob;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let (middle, end) = tail.rsplit_once('*').unwrap_or(("", tail));
    for part in middle.split('*') {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{FlowKind, StampSource, Wall};
    use crate::record::event::{Burst, EventKind};
    use crate::record::evidence::Evidence;
    use crate::record::series::Tags;

    #[test]
    fn a_star_is_any_part_of_a_name() {
        for glob in [
            "a.b.c", "*", "**", "a*", "*c", "a*c", "a.b.*c", "*b*", "a.*.c", "*.*.*", "a.b.c*",
        ] {
            assert!(is_like("a.b.c", glob), "{glob}");
        }
        for glob in [
            "", "a.b", "a.b.c.", "b*", "*b", "a*b", "*c*c", "a.b.c*c", "*.*.*.*", "A*",
        ] {
            assert!(!is_like("a.b.c", glob), "{glob}");
        }
    }

    fn chosen(names: &[&str]) -> Result<Vec<&'static str>, ChoiceError> {
        let choice = Choice::of(names)?;
        let metrics = Metric::all().filter(|metric| choice.has(metric));
        Ok(metrics.map(|metric| metric.name).collect())
    }

    #[test]
    fn the_last_name_that_is_like_a_metric_decides() {
        let two = ["udp.wan.rtt", "udp.wan.owd"];
        let clock = ["clock.offset", "clock.skew", "clock.error"];
        for (names, expected) in [
            (&["udp.wan.rtt"][..], &two[..1]),
            (
                &["udp.wan.owd", "udp.wan.r*", "!*.received", "!*.reordered"],
                &two,
            ),
            (&["!*.wan.*", "!monitor.*"], &clock),
            (&["!*", "clock.*"], &clock),
            (&["clock.*", "!clock.*", "udp.wan.rtt"], &two[..1]),
        ] {
            assert_eq!(chosen(names).unwrap(), expected, "{names:?}");
        }
        let all = Metric::all().count();
        let own = chosen(&["monitor.*"]).unwrap().len();
        assert_eq!(
            chosen(&["!monitor.*", "monitor.events"]).unwrap().len(),
            all - own + 1
        );
        for names in [&[][..], &["*"], &["!udp.*", "*"]] {
            assert_eq!(Choice::of(names).unwrap(), Choice::ALL, "{names:?}");
        }
    }

    #[test]
    fn a_name_that_no_metric_has_is_an_error() {
        for unknown in ["udp.wan.rrt", "rtt", "", "udp.*.rtt.*"] {
            for name in [unknown.to_owned(), format!("!{unknown}")] {
                let error = chosen(&["udp.wan.rtt", &name]).unwrap_err();
                assert_eq!(error, ChoiceError::Unknown(unknown.to_owned()));
            }
        }
        assert_eq!(chosen(&["udp.*", "!*"]).unwrap_err(), ChoiceError::Nothing);
    }

    #[test]
    fn an_event_goes_with_the_count_of_all_and_a_burst_with_those_of_its_flow() {
        let event = |kind| Event {
            at: Wall::default(),
            kind,
            tags: Arc::new(Tags::Host("a".into())),
            flow: None,
        };
        let burst = |flow, lost| {
            event(EventKind::Burst(Burst {
                flow,
                direction: None,
                duration_ns: 1,
                peak_ns: 1,
                mean_ns: 1,
                base_ns: 1,
                probes: 2,
                lost,
                incident: 1,
                stamp: StampSource::User,
                suspect: None,
                evidence: Evidence::default(),
            }))
        };
        let events = [
            burst(FlowKind::Udp, 1),
            burst(FlowKind::Tcp, 1),
            burst(FlowKind::Udp, 2),
            event(EventKind::OutageBegan {
                flow: FlowKind::Udp,
            }),
        ];
        for (name, sent) in [
            ("*", [true; 4]),
            ("monitor.events", [true; 4]),
            ("udp.wan.burst.peak", [true, false, false, false]),
            ("tcp.*", [false, true, false, false]),
            ("udp.wan.rtt", [false; 4]),
            ("burst", [true, true, false, false]),
            ("outage*", [false, false, true, true]),
            ("!burst", [false, false, true, true]),
            ("!outage_begin", [true, true, true, false]),
            ("udp.* burst", [true, true, false, false]),
            ("udp.* !burst", [false; 4]),
            ("udp.wan.rtt outage_begin", [false, false, false, true]),
            ("monitor.events !outage* outage", [true, true, true, false]),
            ("!* burst", [true, true, false, false]),
        ] {
            let names: Vec<&str> = name.split(' ').collect();
            let choice = Choice::of(&names).unwrap();
            assert_eq!(
                events.each_ref().map(|event| choice.has_event(event)),
                sent,
                "{name}"
            );
            let kinds = events.each_ref().map(Event::name);
            assert!(kinds.iter().all(|kind| Event::NAMES.contains(kind)));
        }
        // A kind of events is no metric, and leaves these as they are.
        assert_eq!(chosen(&["burst"]).unwrap(), [""; 0]);
        assert_eq!(chosen(&["!burst"]).unwrap().len(), Metric::all().count());
        assert_eq!(chosen(&["!burst", "!*"]).unwrap_err(), ChoiceError::Nothing);
    }
}
