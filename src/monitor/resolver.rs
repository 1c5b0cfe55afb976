//! Name resolution on threads of its own: the system's resolver blocks, the poll thread must not.
//!
//! A name whose servers are silent holds a thread for ten seconds and more. Names that wait behind
//! such ones get further threads, up to a maximum. Domains take turns, and none has more than half of the
//! threads: the names of one whose server is silent hold up no others. Names that failed the last time go last.
//! A name that several targets have is looked up once for all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::engine::Resolve;
use crate::limits::{
    ANSWER_ADDRESSES_MAX, RESOLVED_ADDRESSES_MAX, RESOLVER_STACK_BYTES, RESOLVER_THREADS,
    RESOLVER_THREADS_MAX, TARGETS_MAX,
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
            self.0.state.lock().ask(target, name);
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

/// Names in line, those of each domain in theirs.
#[derive(Debug, Default)]
struct Line {
    /// By domain; none is empty.
    names: BTreeMap<Box<str>, VecDeque<Box<str>>>,
    /// The domains in the order in which it is their turn.
    turns: VecDeque<Box<str>>,
}

impl Line {
    fn push(&mut self, name: &str) {
        let domain = domain_of(name);
        if let Some(names) = self.names.get_mut(domain) {
            names.push_back(name.into());
        } else {
            self.names.insert(domain.into(), [name.into()].into());
            self.turns.push_back(domain.into());
        }
    }

    /// Takes the next name of the first domain that may have one more thread.
    fn pop(&mut self, busy: &BTreeMap<Box<str>, usize>) -> Option<Box<str>> {
        let place = self
            .turns
            .iter()
            .position(|domain| room_of(domain, busy) > 0)?;
        let domain = self.turns.remove(place)?;
        let names = self.names.get_mut(&domain)?;
        let name = names.pop_front();
        if names.is_empty() {
            self.names.remove(&domain);
        } else {
            self.turns.push_back(domain);
        }
        name
    }

    /// Returns how many of the names could be looked up at once.
    fn startable(&self, busy: &BTreeMap<Box<str>, usize>) -> usize {
        let names = self.names.iter();
        let startable = names.map(|(domain, names)| names.len().min(room_of(domain, busy)));
        startable.sum()
    }
}

/// Returns what stands behind the first dot of a name: its servers are mostly those of all names that end so.
fn domain_of(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, domain)| domain)
}

/// Returns how many more threads the names of a domain may have.
fn room_of(domain: &str, busy: &BTreeMap<Box<str>, usize>) -> usize {
    let has = busy.get(domain).copied().unwrap_or_default();
    (RESOLVER_THREADS_MAX / 2).saturating_sub(has)
}

/// A look-up under way.
#[derive(Debug)]
struct UnderWay {
    /// The tick at which it began.
    began: u64,
    /// Its name had failed the last time.
    is_failing: bool,
    domain: Box<str>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Line,
    /// The same for names that failed the last time.
    failing: Line,
    /// The targets that want the answer, by each name that is in line or looked up.
    askers: BTreeMap<Box<str>, Vec<TargetId>>,
    threads: usize,
    /// By a number of its own.
    under_way: BTreeMap<u64, UnderWay>,
    numbers: u64,
    ticks: u64,
    /// What is wrong with a name, as it was logged.
    troubles: BTreeMap<Box<str>, String>,
    is_over: bool,
}

impl State {
    /// Puts a name in line, unless it is there or looked up already.
    fn ask(&mut self, target: TargetId, name: &str) {
        if let Some(askers) = self.askers.get_mut(name) {
            askers.push(target);
            return;
        }
        self.askers.insert(name.into(), vec![target]);
        if self.troubles.contains_key(name) {
            self.failing.push(name);
        } else {
            self.waiting.push(name);
        }
    }

    /// Returns a name to look up next, and the number of its look-up.
    fn next(&mut self) -> Option<(u64, Box<str>)> {
        let busy = self.busy();
        let waiting = self.waiting.pop(&busy);
        let is_failing = waiting.is_none();
        let name = match waiting {
            Some(name) => name,
            None if self.room_for_failing() > 0 => self.failing.pop(&busy)?,
            None => return None,
        };
        self.numbers += 1;
        let under_way = UnderWay {
            began: self.ticks,
            is_failing,
            domain: domain_of(&name).into(),
        };
        self.under_way.insert(self.numbers, under_way);
        Some((self.numbers, name))
    }

    /// Ends a look-up. Returns the targets that want its answer.
    fn end(&mut self, number: u64, name: &str) -> Vec<TargetId> {
        self.under_way.remove(&number);
        self.askers.remove(name).unwrap_or_default()
    }

    /// Returns how many names of each domain are looked up now.
    fn busy(&self) -> BTreeMap<Box<str>, usize> {
        let mut busy = BTreeMap::new();
        for look_up in self.under_way.values() {
            *busy.entry(look_up.domain.clone()).or_insert(0) += 1;
        }
        busy
    }

    /// Names that failed have at most half of the threads.
    fn room_for_failing(&self) -> usize {
        let failing = self.under_way.values().filter(|look_up| look_up.is_failing);
        (RESOLVER_THREADS_MAX / 2).saturating_sub(failing.count())
    }

    /// Returns how many threads the names that may be looked up need besides those that there are. Each slow
    /// look-up is worth two, so that the silence of hundreds is overcome in a few ticks.
    fn lacks(&self) -> usize {
        let is_slow = |look_up: &&UnderWay| self.ticks - look_up.began >= SLOW_TICKS;
        let slow = self.under_way.values().filter(is_slow).count();
        let wanted = (2 * slow + RESOLVER_THREADS).min(RESOLVER_THREADS_MAX);
        let busy = self.busy();
        let failing = self.failing.startable(&busy).min(self.room_for_failing());
        let startable = self.waiting.startable(&busy) + failing;
        wanted.saturating_sub(self.threads).min(startable)
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
            if let Some((number, name)) = state.next() {
                drop(state);
                let addresses = self.found(&name);
                state = self.state.lock();
                for target in state.end(number, &name) {
                    let answer = Command::Resolved(target, addresses.clone());
                    if !self.commands.push(answer) {
                        // A target that hears nothing would never ask again.
                        state.ask(target, &name);
                    }
                }
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
            if state.waiting.names.is_empty() && state.failing.names.is_empty() {
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
        // A log is no place for thousands of addresses.
        let shown = &found[..found.len().min(RESOLVED_ADDRESSES_MAX)];
        if self.state.lock().is_news(name, trouble.as_ref()) {
            match trouble {
                Some(trouble) => tracing::warn!(name, "{trouble}"),
                None => tracing::info!(name, addresses = ?shown, "the target's name is found"),
            }
        }
        tracing::debug!(name, addresses = ?shown, "resolved");
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
        .take(RESOLVED_ADDRESSES_MAX)
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
    let mut seen = BTreeSet::new();
    let mut addresses: Vec<Address> = (name, 0).to_socket_addrs()?.map(Address::from).collect();
    addresses.retain(|address| seen.insert(*address));
    addresses.truncate(ANSWER_ADDRESSES_MAX);
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
        for silent in [3, 40, 4 * RESOLVER_THREADS_MAX] {
            let commands = Arc::new(Commands::default());
            let mut resolver = Resolver::start_with(&commands, silent_but_for_one).unwrap();
            let names = (0..silent).map(|number| format!("silent{number}.example"));
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

    /// A state in which these names were asked for, each by another target.
    fn asked(names: impl IntoIterator<Item = String>) -> State {
        let mut state = State::default();
        for (number, name) in (0..).zip(names) {
            state.ask(TargetId(number), &name);
        }
        state
    }

    #[test]
    fn names_that_fail_go_last_and_leave_half_of_the_threads() {
        let bad = |number: usize| format!("bad.{number}.example");
        let mut state = State::default();
        for number in 0..RESOLVER_THREADS_MAX {
            state
                .troubles
                .insert(bad(number).into(), "silence".to_owned());
            state.ask(TargetId(0), &bad(number));
        }
        state.ask(TargetId(1), "good");
        assert_eq!(&*state.next().unwrap().1, "good");
        for number in 0..RESOLVER_THREADS_MAX / 2 {
            assert_eq!(&*state.next().unwrap().1, bad(number));
        }
        assert!(state.next().is_none());
        // No thread is wanted for names that may not be looked up now.
        state.ticks = SLOW_TICKS;
        assert_eq!(state.lacks(), 0);
        state.ask(TargetId(1), "fine");
        assert_eq!(state.lacks(), 1);
        assert_eq!(&*state.next().unwrap().1, "fine");
    }

    #[test]
    fn a_domain_that_is_silent_holds_up_no_other_one() {
        let silent =
            (0..2 * RESOLVER_THREADS_MAX).map(|number| format!("a{number}.silent.example"));
        let mut state =
            asked(silent.chain(["b.other.example".to_owned(), "c.third.example".to_owned()]));
        let mut begun = Vec::new();
        while let Some((_, name)) = state.next() {
            begun.push(name);
        }
        assert_eq!(&*begun[1], "b.other.example", "they take turns");
        assert_eq!(&*begun[2], "c.third.example");
        assert_eq!(begun.len(), RESOLVER_THREADS_MAX / 2 + 2);
        state.ticks = SLOW_TICKS;
        assert_eq!(state.lacks(), 0);
        state.ask(TargetId(0), "d.third.example");
        assert_eq!(&*state.next().unwrap().1, "d.third.example");
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_that_ask_for_it() {
        let same = || "same.example".to_owned();
        let mut state = asked([same(), "other.example".to_owned(), same()]);
        let (number, name) = state.next().unwrap();
        assert_eq!(*name, same());
        // One that asks while it is under way gets the same answer.
        state.ask(TargetId(7), &same());
        assert_eq!(&*state.next().unwrap().1, "other.example");
        assert!(state.next().is_none());
        assert_eq!(
            state.end(number, &name),
            [TargetId(0), TargetId(2), TargetId(7)]
        );
        state.ask(TargetId(8), &same());
        assert_eq!(*state.next().unwrap().1, same());
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
