//! What the main thread of the daemon waits for.

use crate::monitor::discovery::Found;
use crate::monitor::signals::Asked;

/// What the main thread waits for.
pub(super) enum Notice {
    Signal(Asked),
    /// A source lists other targets.
    Found(Found),
    /// Somebody asks for a reload, and wants to know what came of it.
    #[cfg_attr(
        not(feature = "http-server"),
        expect(dead_code, reason = "nobody asks")
    )]
    Reload(Box<dyn FnOnce(Result<String, String>) + Send>),
    /// The poll thread has done what it was told to, for the so manieth time that it was asked.
    Done(u64),
    /// The reader of a backend has gone.
    Closed,
}
