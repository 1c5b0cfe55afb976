//! The bytes on the network: codecs that borrow what they read and never panic on it.

pub mod native;
pub mod text;
