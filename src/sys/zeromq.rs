//! Options of libzmq sockets that the `zmq` crate has no safe call for.

#![expect(
    unsafe_code,
    reason = "options that are set by number, on a raw handle"
)]

use std::ffi::c_void;

/// Lets a PUB socket refuse a message (`EAGAIN`) that a subscriber has no room for. Otherwise it
/// drops the message for that subscriber in silence.
pub(crate) fn refuse_rather_than_drop(socket: &mut zmq::Socket) -> Result<(), zmq::Error> {
    set(socket, zmq_sys::ZMQ_XPUB_NODROP, 1)
}

/// Ends connections to peers that have taken nothing for `after_ms` though data was there
/// (`TCP_USER_TIMEOUT` on Linux).
pub(crate) fn disconnect_stuck_peers(
    socket: &mut zmq::Socket,
    after_ms: i32,
) -> Result<(), zmq::Error> {
    set(socket, zmq_sys::ZMQ_TCP_MAXRT, after_ms)
}

fn set(socket: &mut zmq::Socket, option: u32, value: i32) -> Result<(), zmq::Error> {
    let option = i32::try_from(option).map_err(|_| zmq::Error::EINVAL)?;
    let handle = socket.as_mut_ptr();
    // SAFETY: the handle is that of an open socket, which we hold alone, and the value is an `int`
    // of the size that is given, which libzmq copies before it returns.
    let result = unsafe {
        zmq_sys::zmq_setsockopt(
            handle,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<i32>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    // SAFETY: it takes nothing, and reads this thread's last error.
    let error = unsafe { zmq_sys::zmq_errno() };
    Err(zmq::Error::from_raw(error))
}
