//! The pure core: every protocol rule, and no system call.
//!
//! A [`Prober`] takes events in (`handle_*`) and gives actions and results out (`poll_*`). It reads
//! no clock, socket, file, thread or random source: time is an argument and seeds are configured.
//! The same core is driven by the engines over real sockets and by the simulation in virtual time.
//!
//! Drain order, after any event: `poll_transmit` until it gives `None`, then `poll_output` until it
//! gives `None`; then wait for the next event, at most until `poll_timeout`.

mod absence;
mod addresses;
mod backoff;
mod carrier;
mod context;
mod conversation;
mod ends;
mod families;
mod flow;
mod follow_ups;
mod gate;
mod key_ring;
pub mod life;
mod lookup;
mod marks;
mod named;
pub mod output;
mod owner;
pub mod path;
mod peer;
mod peer_clock;
mod pool;
mod presence;
mod probed;
pub mod prober;
mod remarks;
mod responder;
mod rng;
pub mod sample;
mod schedule;
mod steady;
mod strays;
pub mod target;
pub mod time;
mod tracer;
pub mod transmit;
mod view;
pub mod wheel;
mod window;
pub mod wire;

pub(crate) use backoff::Backoff;
pub use gate::{Prefix, PrefixError};
pub use key_ring::KeyRing;
pub use life::{CloseCause, Life, LifeEvent, Misread, Subject};
pub use marks::{Dscp, Marks, SourcePorts};
pub use named::SenderSpec;
pub use output::{
    Held, HeldBy, Member, Outage, Output, PeerHeld, Relabelled, Reopened, Seen, Tuple,
};
pub use path::{Hop, HopAnswer, IcmpType, Label, Path, PathOptions, Why};
pub use presence::HostTotals;
pub use prober::{ClockState, Prober, ProberConfig};
pub(crate) use rng::Jitter;
pub use sample::{
    ClockEstimate, Counters, Direction, FlowKind, FlowNumber, Labels, Metric, OneWay, Origin,
    Outcome, Sample, SelfCounters, Stamp, StampSource, Trace,
};
pub use target::{Address, Family, Host, Protocol, Reopen, StampOptions, TargetSpec, Visit};
pub use time::{Mono, Now, Wall};
pub use transmit::{
    Arrival, CloseReason, Headers, ListenerId, SocketId, StampKey, TargetId, Transmit,
};
pub use view::{FlowView, Refused, Spoken};
pub use wire::native::authenticated::Key;
