//! Who tells what happens to one flow, and where the flow leads.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::proto::context::Context;
use crate::proto::life::{Life, LifeEvent};
use crate::proto::output::Output;
use crate::proto::sample::{FlowKind, Labels};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) labels: Arc<Labels>,
    pub(crate) kind: Option<FlowKind>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

impl Teller {
    pub(crate) fn new(labels: Arc<Labels>, kind: Option<FlowKind>) -> Self {
        Self {
            labels,
            kind,
            remote: None,
            local: None,
        }
    }

    /// Tells an event. They are rare, and boxed so that the other outputs stay small.
    pub(crate) fn tell(&self, event: LifeEvent, context: &mut Context) {
        let life = Life {
            labels: self.labels.clone(),
            kind: self.kind,
            remote: self.remote,
            local: self.local,
            event,
        };
        context.outputs.push_back(Output::Life(Box::new(life)));
    }
}
