//! What a system that is no Unix has, Windows that is, as far as the standard library tells: the same face
//! as `unix`.

use std::fs::File;
use std::io;

use crate::sys::words::Failure;

/// Sockets are handles here, of which a process may have millions. To reckon with: as many as the memory of a small
/// host has room for.
const DESCRIPTORS: u64 = 65_536;

/// Errors of Winsock that the standard library has no word for.
const WSAEMFILE: i32 = 10_024;
const WSAEAFNOSUPPORT: i32 = 10_047;
const WSAENOBUFS: i32 = 10_055;

/// Something that is open: a file, a stream.
#[cfg(windows)]
pub(crate) trait Open: std::os::windows::io::AsHandle {}

#[cfg(windows)]
impl<T: std::os::windows::io::AsHandle> Open for T {}

/// The same on a Unix, where this side is only checked.
#[cfg(unix)]
pub(crate) trait Open: std::os::fd::AsFd {}

#[cfg(unix)]
impl<T: std::os::fd::AsFd> Open for T {}

/// Opens the same file or stream once more.
pub(crate) fn duplicate(open: &impl Open) -> io::Result<File> {
    #[cfg(windows)]
    let open = open.as_handle();
    #[cfg(unix)]
    let open = open.as_fd();
    Ok(File::from(open.try_clone_to_owned()?))
}

/// Returns what the error of a socket call is about.
pub(crate) fn failure(error: &io::Error) -> Failure {
    use io::ErrorKind::{
        AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
        HostUnreachable, InvalidInput, NetworkDown, NetworkUnreachable, OutOfMemory,
        PermissionDenied, WouldBlock,
    };
    match (error.kind(), error.raw_os_error()) {
        (_, None) => Failure::Other,
        (ConnectionRefused | ConnectionReset | BrokenPipe | ConnectionAborted, _) => Failure::Reset,
        (OutOfMemory | WouldBlock, _) | (_, Some(WSAEMFILE | WSAENOBUFS)) => Failure::Exhausted,
        (NetworkUnreachable | HostUnreachable, _) => Failure::NoRoute,
        (NetworkDown, _) => Failure::NetworkDown,
        (PermissionDenied, _) => Failure::Denied,
        (AddrNotAvailable | InvalidInput, _) => Failure::NoAddress,
        (_, Some(WSAEAFNOSUPPORT)) => Failure::NoFamily,
        _ => Failure::Other,
    }
}

/// True if a connection that was begun is under way.
pub(crate) fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Returns the processor time used so far: not known.
pub(crate) fn cpu_ns() -> Option<u64> {
    None
}

/// Returns how many sockets this process may have open.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    Ok(DESCRIPTORS)
}

/// Returns the name of this host; `localhost` if the environment does not have it.
pub(crate) fn host_name() -> String {
    let name = std::env::var("COMPUTERNAME").ok();
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Who can read a file is not a matter of modes here: nothing is said against one.
pub(crate) fn is_private(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Returns no address: interfaces have none by their names.
pub(crate) fn interface_address(_: &str) -> Option<String> {
    None
}

/// Returns no number: a zone is a number here.
pub(crate) fn numbered_zone(_: &str) -> Option<String> {
    None
}
