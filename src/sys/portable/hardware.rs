//! No interface is asked to stamp packets.

use std::io;

use super::unsupported;
use crate::sys::words::Abilities;

/// Never there.
pub(crate) enum Interface {}

impl Interface {
    pub(crate) fn new(_: &str) -> io::Result<Self> {
        Err(unsupported())
    }

    pub(crate) fn abilities(&mut self) -> io::Result<Abilities> {
        match *self {}
    }

    pub(crate) fn stamp_all(&mut self) -> io::Result<()> {
        match *self {}
    }
}

/// Returns the names of the interfaces that could be asked: none.
pub(crate) fn interfaces() -> Vec<String> {
    Vec::new()
}
