//! Settings of the command line, which go over the top level of the file.

use crate::config::error::Place;
use crate::config::key::Key;
use crate::config::keys;
use crate::config::layer::Layer;
use crate::config::value::Value;

/// Settings of the command line. They go over those at the top level of the file; a target's own keys
/// go over both. That of `backend` chooses among the file's `[[metrics]]` tables, that of `mode` holds
/// for all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides(pub(super) Layer);

impl Overrides {
    /// Gives a key that has a flag, by its name and with a value as on the command line.
    ///
    /// ```
    /// use latency_monitor::{Config, Overrides};
    ///
    /// let overrides = Overrides::default().with("tcp_port", "0")?.with("rtt", "false")?;
    /// assert_eq!(Config::parse("tcp_port = 7", &overrides).unwrap().tcp_port, 0);
    /// # Ok::<(), String>(())
    /// ```
    pub fn with(mut self, key: &str, value: &str) -> Result<Self, String> {
        let key = keys::all().find(|known| known.name == key && known.flag.is_some());
        let key = key.ok_or("no flag is for this key")?;
        self.put(key, key.kind.read_argument(value)?);
        Ok(self)
    }

    /// Puts other settings over these.
    pub(crate) fn put_over(&mut self, later: &Self) {
        self.0 = later.0.over(&self.0);
    }

    /// Returns the flag of a setting, if there is any.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let mut flags = keys::all().filter_map(|key| match self.0.place(key) {
            Place::Flag(long) => Some(long),
            _ => None,
        });
        flags.next()
    }

    /// True if the key of this name was given.
    pub(crate) fn has(&self, key: &str) -> bool {
        let found = keys::all().find(|known| known.name == key);
        found.is_some_and(|key| matches!(self.0.place(key), Place::Flag(_)))
    }

    pub(crate) fn put(&mut self, key: &'static Key, value: Value) {
        if let Some(flag) = key.flag {
            self.0.put(key, value, Place::Flag(flag.long));
        }
    }
}
