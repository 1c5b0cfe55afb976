//! What is shown live: the figures of each interval of every pair of hosts, a bounded past of them, the last events.
//!
//! The flush thread of `[http]` fills it with the windows and counts that the recorder has published, and whoever looks
//! gets them as JSON. Nothing is measured or estimated here. The one thing that is made of a window's histogram is a
//! [heatmap's column](heat).

mod answers;
mod board;
mod heat;
mod host;
mod json;
mod kept;
mod pair;
mod past;
mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::history::Reader;
use crate::proto::{FlowKind, Labels};

use crate::publish::live::board::Board;
use crate::record::{Distribution, Record};

pub use kept::PastRange;

/// Gets what happens, in its order. It must not wait.
pub trait Watch: Send {
    /// Gets an event as a line of JSON.
    fn event(&mut self, line: &[u8]);

    /// True if somebody wants the figures of each interval.
    fn wants_updates(&self) -> bool {
        false
    }

    /// Gets the figures of an interval as an object of JSON.
    fn update(&mut self, json: Vec<u8>) {
        let _ = json;
    }
}

impl<F: FnMut(&[u8]) + Send> Watch for F {
    fn event(&mut self, line: &[u8]) {
        self(line);
    }
}

/// The figures that are shown live. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Live {
    board: Arc<Mutex<Board>>,
    /// What the daemon keeps on its disk, if it does.
    kept: Option<Reader>,
}

impl Live {
    /// One without figures. `source` is the name of this host, `interval_ns` the length of an interval.
    pub(super) fn new(source: &str, interval_ns: u64) -> Self {
        let board = Arc::new(Mutex::new(Board::new(source, interval_ns)));
        Self { board, kept: None }
    }

    /// Answers from what is kept in this folder, too.
    pub(super) fn keeping_in(self, folder: &Path) -> Self {
        let kept = Some(Reader::new(folder));
        Self { kept, ..self }
    }

    /// Takes a record; of a window also its distribution. An interval that this record is not of any more is over.
    pub(super) fn add(&self, record: &Record, distribution: &Distribution, watch: &mut dyn Watch) {
        let mut board = self.board.lock();
        if board.is_of_another_interval(record) {
            end(&mut board, watch);
        }
        board.add(record, distribution);
    }

    /// Takes an event as a line of JSON.
    pub(super) fn add_event(&self, record: &Record, line: &[u8]) {
        if let Record::Event(event) = record {
            self.board.lock().add_event(event, line);
        }
    }

    /// Ends the interval: all its records have come.
    pub(super) fn end_interval(&self, watch: &mut dyn Watch) {
        end(&mut self.board.lock(), watch);
    }

    /// Returns what somebody who begins to look needs: members of an object of JSON, without its braces. The flush
    /// thread waits for that time; nobody else does.
    pub fn snapshot(&self) -> Vec<u8> {
        self.board.lock().snapshot()
    }

    /// Returns what is kept of the past as an object of JSON: every figure of one pair's flows of a kind, with the
    /// columns of its heatmaps; `None` if there is no such pair.
    pub fn past_of(&self, pair: u32, flow: &str) -> Option<Vec<u8>> {
        self.board.lock().past_of(pair, flow)
    }

    /// Returns the main figures of all pairs in the last intervals as an object of JSON.
    pub fn past(&self) -> Vec<u8> {
        self.board.lock().past()
    }

    /// True if there is a past on the disk.
    pub const fn has_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// As [`past_of`](Self::past_of), of what is kept on the disk, which it reads.
    pub fn kept_of(&self, pair: u32, flow: &str, asked: PastRange) -> io::Result<Option<Vec<u8>>> {
        let labels = self.board.lock().labels().remove(&pair);
        let kind = FlowKind::ALL.into_iter().find(|kind| kind.as_str() == flow);
        let (Some(kept), Some(labels), Some(kind)) = (&self.kept, labels, kind) else {
            return Ok(None);
        };
        kept::past_of(kept, asked, pair, &labels, kind).map(Some)
    }

    /// As [`past`](Self::past), of what is kept on the disk, which it reads.
    pub fn kept(&self, asked: PastRange) -> io::Result<Option<Vec<u8>>> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let labels: BTreeMap<u32, Arc<Labels>> = self.board.lock().labels();
        kept::past(kept, asked, &labels).map(Some)
    }
}

fn end(board: &mut Board, watch: &mut dyn Watch) {
    if let Some(update) = board.end_interval(watch.wants_updates()) {
        watch.update(update);
    }
}
