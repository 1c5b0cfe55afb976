//! Name resolution on threads of its own: the system's resolver blocks, the poll thread must not.
//!
//! A name whose servers are silent holds a thread for ten seconds and more. Names that wait behind
//! such ones get further threads, up to a maximum, and names that failed the last time go last.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::engine::Resolve;
use crate::limits::{
    RESOLVED_ADDRESSES_MAX, RESOLVER_STACK_BYTES, RESOLVER_THREADS, RESOLVER_THREADS_MAX,
    TARGETS_MAX,
};
use crate::monitor::StartError;
use crate::monitor::commands::{Command, Commands};
use crate::proto::{Address, Host, TargetId};

/// How often it is seen to that names which wait have threads.
const TICK: Duration = Duration::from_millis(25);

/// A look-up that has begun so many ticks ago holds up others.
const SLOW_TICKS: u64 = 2;

type LookUp = fn(&str) -> io::Result<Vec<Address>>;

/// Passes names to the resolver threads. They end when it is dropped, each after its lookup. Nobody
/// waits for a thread that hangs in the system's resolver.
#[derive(Debug)]
pub(crate) struct Resolver(Arc<Pool>);

impl Resolver {
    pub(crate) fn start(commands: &Arc<Commands>) -> io::Result<Self> {
        Self::start_with(commands, look_up)
    }

    fn start_with(commands: &Arc<Commands>, look_up: LookUp) -> io::Result<Self> {
        let resolver = Self(Arc::new(Pool {
            state: Mutex::default(),
            asked: Condvar::new(),
            crowded: Condvar::new(),
            look_up,
            commands: commands.clone(),
        }));
        for _ in 0..RESOLVER_THREADS {
            resolver.0.spawn()?;
        }
        let pool = resolver.0.clone();
        named("lm-resolve").spawn(move || pool.supervise())?;
        Ok(resolver)
    }
}

impl Resolve for Resolver {
    fn resolve(&mut self, target: TargetId, host: &Host) {
        if let Host::Name(name) = host {
            let mut state = self.0.state.lock();
            let is_failing = state.troubles.contains_key(name);
            let queue = if is_failing {
                &mut state.failing
            } else {
                &mut state.waiting
            };
            queue.push_back((target, name.clone()));
            drop(state);
            self.0.asked.notify_one();
            self.0.crowded.notify_one();
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.state.lock().is_over = true;
        self.0.asked.notify_all();
        self.0.crowded.notify_all();
    }
}

#[derive(Debug)]
struct Pool {
    state: Mutex<State>,
    /// A name waits.
    asked: Condvar,
    /// A name may wait for longer than it should.
    crowded: Condvar,
    look_up: LookUp,
    commands: Arc<Commands>,
}

type Question = (TargetId, Box<str>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Question>,
    /// The same for names that failed the last time.
    failing: VecDeque<Question>,
    threads: usize,
    /// When each look-up under way began, by a number of its own, and whether its name was failing.
    under_way: BTreeMap<u64, (u64, bool)>,
    numbers: u64,
    ticks: u64,
    /// What is wrong with a name, as it was logged.
    troubles: BTreeMap<Box<str>, String>,
    is_over: bool,
}

impl State {
    /// Returns a name to look up next, and the number of its look-up.
    fn next(&mut self) -> Option<(u64, Question)> {
        let failing = self.under_way.values().filter(|(_, failing)| *failing);
        let has_room = failing.count() < RESOLVER_THREADS_MAX / 2;
        let is_failing = self.waiting.is_empty();
        let question = match self.waiting.pop_front() {
            None if has_room => self.failing.pop_front()?,
            question => question?,
        };
        self.numbers += 1;
        self.under_way
            .insert(self.numbers, (self.ticks, is_failing));
        Some((self.numbers, question))
    }

    /// Returns how many threads the names that wait need besides those that there are. Each slow
    /// look-up is worth two, so that the silence of hundreds is overcome in a few ticks.
    fn lacks(&self) -> usize {
        let is_slow = |(began, _): &&(u64, bool)| self.ticks - began >= SLOW_TICKS;
        let slow = self.under_way.values().filter(is_slow).count();
        let wanted = (2 * slow + RESOLVER_THREADS).min(RESOLVER_THREADS_MAX);
        let waiting = self.waiting.len() + self.failing.len();
        wanted.saturating_sub(self.threads).min(waiting)
    }

    /// Notes what is wrong with a name. True if that was not so before.
    fn is_news(&mut self, name: &str, trouble: Option<&String>) -> bool {
        if self.troubles.get(name) == trouble {
            return false;
        }
        match trouble {
            Some(trouble) => {
                // Names of targets that are long gone may be among them.
                if self.troubles.len() >= TARGETS_MAX {
                    self.troubles.clear();
                }
                self.troubles.insert(name.into(), trouble.clone());
            }
            None => drop(self.troubles.remove(name)),
        }
        true
    }
}

impl Pool {
    /// Starts a thread that looks names up.
    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        self.state.lock().threads += 1;
        let pool = self.clone();
        let spawned = named("lm-resolve").spawn(move || pool.answer());
        if spawned.is_err() {
            self.state.lock().threads -= 1;
        }
        spawned.map(drop)
    }

    /// Answers questions. A thread of more than the usual number ends once nothing waits.
    fn answer(&self) {
        let mut state = self.state.lock();
        while !state.is_over {
            if let Some((number, (target, name))) = state.next() {
                drop(state);
                let addresses = self.found(&name);
                self.commands.push(Command::Resolved(target, addresses));
                state = self.state.lock();
                state.under_way.remove(&number);
            } else if state.threads > RESOLVER_THREADS {
                break;
            } else {
                self.asked.wait(&mut state);
            }
        }
        state.threads -= 1;
    }

    /// Starts further threads while names wait and look-ups take long.
    fn supervise(self: &Arc<Self>) {
        let mut state = self.state.lock();
        while !state.is_over {
            if state.waiting.is_empty() && state.failing.is_empty() {
                self.crowded.wait(&mut state);
            } else {
                self.crowded.wait_for(&mut state, TICK);
            }
            state.ticks += 1;
            for _ in 0..state.lacks() {
                let spawned = parking_lot::MutexGuard::unlocked(&mut state, || self.spawn());
                if let Err(error) = spawned {
                    tracing::debug!(%error, "cannot start one more thread for names");
                    break;
                }
            }
        }
    }

    /// Returns the addresses of a name where one host can be reached, in the resolver's order of
    /// preference (RFC 6724); none if it fails. Logs what is wrong when that changes.
    fn found(&self, name: &str) -> Vec<Address> {
        let (found, trouble) = judge((self.look_up)(name));
        if self.state.lock().is_news(name, trouble.as_ref()) {
            match trouble {
                Some(trouble) => tracing::warn!(name, "{trouble}"),
                None => tracing::info!(name, addresses = ?found, "the target's name is found"),
            }
        }
        tracing::debug!(name, addresses = ?found, "resolved");
        found
    }
}

/// Divides what a look-up has brought into the addresses that can be probed, and what is wrong.
fn judge(found: io::Result<Vec<Address>>) -> (Vec<Address>, Option<String>) {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let trouble =
                format!("cannot resolve the target's name; trying again and again: {error}");
            return (Vec::new(), Some(trouble));
        }
    };
    let faults: Vec<String> = found
        .iter()
        .filter_map(|address| Some(format!("{address} {}", address.fault()?)))
        .collect();
    let fit = found
        .into_iter()
        .filter(|address| address.fault().is_none())
        .collect();
    let trouble = (!faults.is_empty()).then(|| {
        let faults = faults.join(", ");
        format!("the target's name leads to what cannot be probed, and is left out: {faults}")
    });
    (fit, trouble)
}

/// Returns the addresses to listen on.
pub(super) fn own_addresses(hosts: &[Host]) -> Result<Vec<Address>, StartError> {
    let own = |host: &Host| match host {
        Host::Address(address) => Ok((*address).into()),
        Host::Name(name) => {
            let error = |source| StartError::Address {
                host: host.clone(),
                source,
            };
            let found = look_up(name).map_err(error)?;
            // As in the Python program, a name stands for an address of IPv4 where it has one.
            let v4 = found.iter().find(|address| address.ip.is_ipv4());
            let first = v4.or_else(|| found.first()).copied();
            first.ok_or_else(|| error(io::ErrorKind::NotFound.into()))
        }
    };
    hosts.iter().map(own).collect()
}

/// Asks the system for the addresses of a name.
fn look_up(name: &str) -> io::Result<Vec<Address>> {
    let mut addresses: Vec<Address> = Vec::new();
    for address in (name, 0).to_socket_addrs()?.map(Address::from) {
        if !addresses.contains(&address) && addresses.len() < RESOLVED_ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn named(name: &str) -> thread::Builder {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.stack_size(RESOLVER_STACK_BYTES)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// A name that is found after those that never are; the test's own end ends the threads that hang.
    fn silent_but_for_one(name: &str) -> io::Result<Vec<Address>> {
        if name == "here" {
            return Ok(vec![address("192.0.2.7")]);
        }
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_name_is_found_behind_many_that_nobody_answers_for() {
        for silent in [3, 40, RESOLVER_THREADS_MAX - RESOLVER_THREADS] {
            let commands = Arc::new(Commands::default());
            let mut resolver = Resolver::start_with(&commands, silent_but_for_one).unwrap();
            let names = (0..silent).map(|number| format!("silent{number}"));
            for (number, name) in (0..).zip(names.chain(["here".to_owned()])) {
                resolver.resolve(TargetId(number), &Host::Name(name.into()));
            }
            let mut taken = VecDeque::new();
            while taken.is_empty() {
                thread::yield_now();
                commands.take(&mut taken);
            }
            let Some(Command::Resolved(_, addresses)) = taken.pop_front() else {
                panic!("an answer is the only command");
            };
            assert_eq!(addresses, [address("192.0.2.7")]);
        }
    }

    #[test]
    fn names_that_fail_go_last_and_leave_half_of_the_threads() {
        let mut state = State::default();
        let question = |name: &str| (TargetId(0), Box::from(name));
        state.failing = (0..RESOLVER_THREADS_MAX).map(|_| question("bad")).collect();
        state.waiting.push_back(question("good"));
        assert_eq!(&*state.next().unwrap().1.1, "good");
        for _ in 0..RESOLVER_THREADS_MAX / 2 {
            assert_eq!(&*state.next().unwrap().1.1, "bad");
        }
        assert!(state.next().is_none());
        state.waiting.push_back(question("good"));
        assert_eq!(&*state.next().unwrap().1.1, "good");
    }

    #[test]
    fn what_is_wrong_with_a_name_is_told_when_it_changes() {
        let mut state = State::default();
        let unknown = || judge(Err(io::Error::other("unknown"))).1;
        let sinkhole = || judge(Ok(vec![address("0.0.0.0")])).1;
        let mut is_news = |trouble: Option<String>| state.is_news("a", trouble.as_ref());
        assert!(!is_news(None));
        assert!(is_news(unknown()) && !is_news(unknown()));
        assert!(is_news(sinkhole()) && !is_news(sinkhole()));
        assert!(is_news(None) && !is_news(None));
    }

    #[test]
    fn what_is_no_single_host_s_address_is_left_out_and_told() {
        let cases = [
            ("0.0.0.0", "0.0.0.0 is the address of no host"),
            ("::", ":: is the address of no host"),
            ("::ffff:0.0.0.0", "::ffff:0.0.0.0 is the address of no host"),
            ("224.0.0.1", "224.0.0.1 is the address of many hosts"),
            ("ff02::1", "ff02::1 is the address of many hosts"),
            (
                "255.255.255.255",
                "255.255.255.255 is the address of many hosts",
            ),
            (
                "fe80::1",
                "fe80::1 is link-local and lacks its interface, as in fe80::1%eth0",
            ),
        ];
        for (text, fault) in cases {
            let (fit, trouble) = judge(Ok(vec![address(text), address("2001:db8::1")]));
            assert_eq!(fit, [address("2001:db8::1")]);
            let trouble = trouble.unwrap();
            assert!(trouble.ends_with(fault), "{trouble}");
        }
        let with_zone = Address {
            scope: 2,
            ..address("fe80::1")
        };
        assert_eq!(judge(Ok(vec![with_zone])), (vec![with_zone], None));
    }

    #[test]
    fn a_zone_leads_to_its_interface() {
        let found = look_up("fe80::7%lo").unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].scope > 0 && found[0].fault().is_none());
        assert_eq!(look_up("fe80::7%1").unwrap()[0].scope, 1);
        assert!(look_up("fe80::7%no-such-link").is_err());
    }
}
