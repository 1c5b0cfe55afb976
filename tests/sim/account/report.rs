//! What an account says at the end.

use std::fmt::Write as _;

use latency_monitor::proto::{Path, Prober, Protocol};

use super::{Account, FlowAccount};
use crate::life;
use crate::routers;
use crate::strangers::NAME;

impl Account {
    /// The hops of a flow's path were learnt.
    pub(super) fn handle_path(&mut self, path: &Path) {
        let flow = self.flows.get_mut(&path.origin).expect("opened");
        flow.paths.push(routers::show(path));
    }

    /// What happened, for people and snapshots.
    pub(crate) fn report(&self, out: &mut String, prober: &Prober) {
        let mut flows: Vec<&FlowAccount> = self.flows.values().collect();
        flows.sort_by_key(|flow| (&flow.label, flow.kind));
        for flow in flows {
            let c = flow.counters;
            let _ = writeln!(
                out,
                "{}: sent {} received {} lost {} in flight {} late {} duplicate {} reordered {} \
                 corrupt {} unsent {}; {}",
                flow.label,
                c.sent,
                c.received,
                c.lost,
                c.in_flight(),
                c.late,
                c.duplicate,
                c.reordered,
                c.corrupt,
                c.unsent,
                flow.delays.show(),
            );
            life::troubles(out, &c);
            for path in &flow.paths {
                let _ = writeln!(out, "  {path}");
            }
            if c.sent_native > 0 {
                let _ = writeln!(
                    out,
                    "  native {}, by kernel {}, without dwell {}, settling {}; lost forward {} \
                     reverse {}; forward {}; reverse {}",
                    c.sent_native,
                    flow.by_kernel,
                    flow.without_dwell,
                    c.settling,
                    c.lost_forward,
                    c.lost_reverse,
                    flow.forward.show(),
                    flow.reverse.show(),
                );
            }
            if flow.protocol == Protocol::Stamp {
                let (owd, hops) = (flow.owd.show(), flow.hops);
                let _ = writeln!(out, "  published forward {owd}; hops {hops:?}");
            }
        }
        if self.claimed > 0 {
            let _ = writeln!(
                out,
                "clocks: {} estimates, {} steps; last {:?}",
                self.claimed, self.clock_steps, self.last_claim
            );
        }
        let honest = self.senders.values();
        let mut lines: Vec<String> = honest
            .filter(|(labels, _)| !labels.source.starts_with(NAME))
            .map(|(labels, delays)| {
                let tags: Vec<String> = labels.iter().map(|tag| tag.to_string()).collect();
                format!("from {}: {}\n", tags.join(","), delays.show())
            })
            .collect();
        if lines.len() <= 16 {
            lines.sort();
            out.push_str(&lines.concat());
        }
        for (labels, delays) in &self.past {
            let tags: Vec<String> = labels.iter().map(|tag| tag.to_string()).collect();
            let _ = writeln!(out, "before from {}: {}", tags.join(","), delays.show());
        }
        let _ = writeln!(
            out,
            "senders published {}, at once {}; latest send {} ns; {}",
            self.senders_opened,
            self.senders.len(),
            self.lateness,
            counted(prober),
        );
        if let Some(bursts) = &self.bursts {
            out.push_str(bursts.lines());
        }
        out.push_str(self.life.as_deref().unwrap_or_default());
    }
}

/// Lists what a prober counts of itself, but what it never saw.
fn counted(prober: &Prober) -> String {
    let counters = format!("{:?}", prober.self_counters());
    let fields = counters.split_once(" { ").map_or("", |(_, fields)| fields);
    let fields = fields.trim_end_matches(" }").split(", ");
    let seen: Vec<&str> = fields.filter(|field| !field.ends_with(": 0")).collect();
    seen.join(", ")
}
