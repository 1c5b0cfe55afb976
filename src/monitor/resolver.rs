//! Name resolution on threads of its own: the system's resolver blocks, the poll thread must not.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use parking_lot::Mutex;

use crate::engine::Resolve;
use crate::limits::{RESOLVED_ADDRESSES_MAX, RESOLVER_THREADS};
use crate::monitor::commands::{Command, Commands};
use crate::proto::{Host, TargetId};

type Question = (TargetId, Box<str>);

/// Passes names to the resolver threads. They end when it is dropped, each after its lookup. Nobody
/// waits for a thread that hangs in the system's resolver.
#[derive(Debug)]
pub(crate) struct Resolver {
    questions: Sender<Question>,
}

impl Resolver {
    pub(crate) fn start(commands: &Arc<Commands>) -> std::io::Result<Self> {
        let (questions, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..RESOLVER_THREADS {
            let (receiver, commands) = (receiver.clone(), commands.clone());
            thread::Builder::new()
                .name("lm-resolve".into())
                .spawn(move || answer(&receiver, &commands))?;
        }
        Ok(Self { questions })
    }
}

impl Resolve for Resolver {
    fn resolve(&mut self, target: TargetId, host: &Host) {
        if let Host::Name(name) = host {
            // The threads end with the sender only: this cannot fail while `self` is here.
            let _ = self.questions.send((target, name.clone()));
        }
    }
}

/// Answers questions until the sender is dropped.
fn answer(questions: &Mutex<Receiver<Question>>, commands: &Commands) {
    loop {
        // The lock is held while waiting for a question, not while answering it.
        let question = questions.lock().recv();
        let Ok((target, name)) = question else { return };
        let addresses = look_up(&name);
        commands.push(Command::Resolved(target, addresses));
    }
}

/// Returns the addresses of a name, in the resolver's order of preference (RFC 6724); none if it
/// fails.
fn look_up(name: &str) -> Vec<IpAddr> {
    match (name, 0).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) && addresses.len() < RESOLVED_ADDRESSES_MAX {
                    addresses.push(address);
                }
            }
            tracing::debug!(name, ?addresses, "resolved");
            addresses
        }
        Err(error) => {
            tracing::warn!(name, %error, "cannot resolve the target's name; trying again later");
            Vec::new()
        }
    }
}
