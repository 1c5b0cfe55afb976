//! The threads that wait: for figures, for answers about the past, for keys and for signals.

use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event;

use crate::limits::TOP_LINE_BYTES_MAX;
use crate::remote::Daemon;
use crate::top::frames::{Frame, Frames};
use crate::top::model::{Back, Key};

/// A daemon that has nothing to tell says so every fifteen seconds. One that is silent for this long is away.
const SILENCE: Duration = Duration::from_secs(40);

/// How long an answer about the past may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time between two attempts to reach a daemon.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the drawing thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Frame(Frame),
    /// The daemon is away, and this is why.
    Lost(String),
    /// The past of a row, or of all rows.
    Past {
        ask: Ask,
        json: Vec<u8>,
    },
    Input(event::Event),
    /// A signal asks for the end.
    End,
    /// A thread has ended that does not end.
    Broken(String),
}

/// A question about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// Which snapshot the numbers of pairs are of.
    pub(super) session: u64,
    /// `None`: the main figures of all rows.
    pub(super) key: Option<Key>,
    /// How far back.
    pub(super) back: Back,
}

/// Tells the drawing thread if its own thread ends: by a panic, which has been written to the terminal.
struct Watched {
    name: &'static str,
    told: SyncSender<Message>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Whoever draws may have ended before.
        let _ = self.told.send(Message::Broken(self.name.to_owned()));
    }
}

/// Starts a thread of a name, which ends only with the process.
pub(super) fn start(
    name: &'static str,
    told: &SyncSender<Message>,
    work: impl FnOnce(&SyncSender<Message>) + Send + 'static,
) -> io::Result<()> {
    let told = told.clone();
    let work = move || {
        let watched = Watched { name, told };
        work(&watched.told);
    };
    thread::Builder::new().name(name.to_owned()).spawn(work)?;
    Ok(())
}

/// Has a daemon tell its figures, again whenever it is away, until `ends` has no sender.
pub(super) fn follow(daemon: &Daemon, told: &SyncSender<Message>, ends: &Receiver<()>) {
    loop {
        let why = listen(daemon, told);
        if told.send(Message::Lost(why)).is_err() {
            return;
        }
        match ends.recv_timeout(AGAIN_AFTER) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

/// Passes on what a daemon tells. Returns why there is no more.
fn listen(daemon: &Daemon, told: &SyncSender<Message>) -> String {
    let answer = daemon
        .asker()
        .and_then(|asker| asker.open("live", None, SILENCE));
    let mut frames = match answer {
        Ok(answer) => Frames::new(answer),
        Err(why) => return why,
    };
    loop {
        let frame = match frames.next() {
            Ok(frame) => frame,
            Err(why) => return why,
        };
        if told.send(Message::Frame(frame)).is_err() {
            return String::new();
        }
    }
}

/// Answers questions about the past. Of several rows that were chosen meanwhile only the last one counts.
pub(super) fn remember(daemon: &Daemon, told: &SyncSender<Message>, asked: &Receiver<Ask>) {
    while let Ok(first) = asked.recv() {
        let waiting: Vec<Ask> = std::iter::once(first).chain(asked.try_iter()).collect();
        let all = waiting.iter().rev().find(|ask| ask.key.is_none());
        let row = waiting.iter().rev().find(|ask| ask.key.is_some());
        for ask in [row, all].into_iter().flatten() {
            // A past that does not come is no harm: the daemon's absence is told by the other thread.
            if let Ok(json) = past(daemon, *ask) {
                let past = Message::Past { ask: *ask, json };
                if told.send(past).is_err() {
                    return;
                }
            }
        }
    }
}

/// Columns of what a daemon keeps on its disk: as many as the widest terminal shows.
const KEPT_COLUMNS: usize = 240;

fn past(daemon: &Daemon, Ask { key, back, .. }: Ask) -> Result<Vec<u8>, String> {
    let query = key.map(|key| {
        let of = format!("pair={}&flow={}", key.pair, key.flow.as_str());
        let seconds = back.seconds();
        seconds.map_or_else(
            || of.clone(),
            |seconds| format!("{of}&last={seconds}&columns={KEPT_COLUMNS}"),
        )
    });
    let answer = daemon.asker()?;
    let answer = answer.open("past", query.as_deref(), ANSWER_TIMEOUT)?;
    let mut json = Vec::new();
    let mut limited = answer.take(TOP_LINE_BYTES_MAX);
    limited
        .read_to_end(&mut json)
        .map_err(|error| error.to_string())?;
    Ok(json)
}

/// Passes on keys and new sizes of the terminal.
pub(super) fn read_keys(told: &SyncSender<Message>) {
    loop {
        match event::read() {
            Ok(input) => {
                if told.send(Message::Input(input)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = told.send(Message::Broken(format!("cannot read keys: {error}")));
                return;
            }
        }
    }
}

/// Tells of signals that end a program. Ctrl-C is a key here.
#[cfg(all(unix, not(latency_monitor_plain)))]
pub(super) fn watch_signals(told: &SyncSender<Message>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    start("lm-top-signal", told, move |told| {
        for _ in signals.forever() {
            if told.send(Message::End).is_err() {
                return;
            }
        }
    })
}

/// There are no signals.
#[cfg(not(all(unix, not(latency_monitor_plain))))]
pub(super) fn watch_signals(_: &SyncSender<Message>) -> io::Result<()> {
    Ok(())
}
