//! Messages with their control messages: many datagrams in one system call (`sendmmsg`,
//! `recvmmsg`), error queues read the same way, and streams.
#![expect(
    unsafe_code,
    reason = "these calls have no safe binding with a control message each"
)]

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc;

use crate::limits::DATAGRAMS_PER_CALL_MAX;
use crate::proto::IcmpType;
use crate::sys::icmp;
use crate::sys::stamp::wall;
use crate::sys::words::{Incoming, Outgoing, Report, Stamps};

/// Room for the control messages of one packet: stamps, an ICMP error, an address of ours, TTL, class
/// and a count.
const CONTROL_BYTES: usize = 256;

/// Messages that an empty queue is asked for at first. Each place that is offered costs some
/// nanoseconds, also if nothing comes into it.
const FIRST_ROOM: usize = 4;

/// Added to each message's room. Else the beginnings of all would fall into the same few lines of
/// the processor's cache.
const STAGGER_BYTES: usize = 5 * 64;

const FAMILY_V4: libc::sa_family_t = low_bits(libc::AF_INET);
const FAMILY_V6: libc::sa_family_t = low_bits(libc::AF_INET6);

#[expect(
    clippy::cast_possible_truncation,
    reason = "families are small numbers"
)]
#[expect(clippy::cast_sign_loss, reason = "and positive ones")]
const fn low_bits(family: i32) -> libc::sa_family_t {
    family as _
}

/// Returns the size of an address or a control message as the kernel takes it.
#[expect(clippy::cast_possible_truncation, reason = "no address has 4 GiB")]
const fn size<T>() -> libc::c_uint {
    size_of::<T>() as _
}

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Control([u8; CONTROL_BYTES]);

impl Control {
    const EMPTY: Self = Self([0; CONTROL_BYTES]);
}

/// Returns what was received, of what the kernel has written for it.
fn incoming<'a>(from: Option<SocketAddr>, control: &[u8], payload: &'a [u8]) -> Incoming<'a> {
    let mut incoming = Incoming {
        from,
        local: None,
        ttl: None,
        tos: None,
        dropped: None,
        stamps: Stamps::default(),
        payload,
    };
    each_control(control, |level, kind, data| {
        if let Some(stamps) = stamps_in(level, kind, data) {
            incoming.stamps = stamps;
        } else if let Some(local) = local_address(level, kind, data) {
            incoming.local = Some(local);
        } else if let Some(ttl) = ttl_in(level, kind, data) {
            incoming.ttl = Some(ttl);
        } else if let Some(tos) = tos_in(level, kind, data) {
            incoming.tos = Some(tos);
        } else if let Some(dropped) = dropped_in(level, kind, data) {
            incoming.dropped = Some(dropped);
        }
    });
    incoming
}

/// Returns what was received, of the parts that the kernel has written side by side: the address, the control messages,
/// which begin where a `cmsghdr` may, and the payload.
pub(in crate::sys) fn incoming_in<'a>(
    name: &[u8],
    control: &[u8],
    payload: &'a [u8],
) -> Incoming<'a> {
    incoming(address_in(name), control, payload)
}

/// The headers of each message of a call.
struct Headers {
    messages: Box<[libc::mmsghdr]>,
    slices: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers in it are set right before each call, to memory of the same owner, and are
// not followed at any other time.
unsafe impl Send for Headers {}

impl Headers {
    fn new(count: usize) -> Self {
        // SAFETY: all of these are plain numbers and pointers, for which zeros are valid.
        let message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let slice = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            messages: vec![message; count].into(),
            slices: vec![slice; count].into(),
            names: vec![name; count].into(),
            controls: vec![Control::EMPTY; count].into(),
        }
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    /// Sets message `index` to these bytes, and to all the room there is for its name and control.
    fn set(&mut self, index: usize, bytes: *mut u8, length: usize) {
        let slice = &mut self.slices[index];
        slice.iov_base = bytes.cast();
        slice.iov_len = length;
        let header = &mut self.messages[index].msg_hdr;
        header.msg_name = std::ptr::from_mut(&mut self.names[index]).cast();
        header.msg_namelen = size::<libc::sockaddr_storage>();
        header.msg_iov = slice;
        // A slice of nothing would be copied and checked all the same.
        header.msg_iovlen = usize::from(length > 0) as _;
        header.msg_control = self.controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
        header.msg_flags = 0;
    }

    /// Addresses message `index` to `to`.
    fn set_name(&mut self, index: usize, to: SocketAddr) {
        let name = std::ptr::from_mut(&mut self.names[index]);
        let length = match to {
            SocketAddr::V4(to) => {
                // SAFETY: `sockaddr_storage` is as large as any address and aligned for it.
                let name = unsafe { &mut *name.cast::<libc::sockaddr_in>() };
                name.sin_family = FAMILY_V4;
                name.sin_port = to.port().to_be();
                name.sin_addr.s_addr = u32::from(*to.ip()).to_be();
                size::<libc::sockaddr_in>()
            }
            SocketAddr::V6(to) => {
                // SAFETY: as above.
                let name = unsafe { &mut *name.cast::<libc::sockaddr_in6>() };
                name.sin6_family = FAMILY_V6;
                name.sin6_port = to.port().to_be();
                name.sin6_flowinfo = to.flowinfo();
                name.sin6_addr.s6_addr = to.ip().octets();
                name.sin6_scope_id = to.scope_id();
                size::<libc::sockaddr_in6>()
            }
        };
        self.messages[index].msg_hdr.msg_namelen = length;
    }

    /// Has message `index` leave as the datagram wants: from our address, on a socket of IPv6 or of IPv4, with its
    /// traffic class and its TTL.
    fn set_controls(&mut self, index: usize, datagram: &Outgoing<'_>) {
        self.messages[index].msg_hdr.msg_controllen = 0;
        match datagram.from {
            None => {}
            Some(from) if datagram.to.is_ipv6() => {
                let info = pktinfo_v6(from);
                self.push_control(index, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            Some(from) => {
                let info = pktinfo_v4(from);
                self.push_control(index, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
        }
        if datagram.tos != 0 {
            let class = libc::c_int::from(datagram.tos);
            let (level, kind) = match datagram.to.ip().to_canonical() {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            self.push_control(index, level, kind, class);
        }
        if let Some(ttl) = datagram.ttl {
            let (level, kind) = match datagram.to.ip().to_canonical() {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
            };
            self.push_control(index, level, kind, libc::c_int::from(ttl));
        }
    }

    /// Adds a control message to message `index`, which has at most one of each kind.
    fn push_control<T>(&mut self, index: usize, level: i32, kind: i32, info: T) {
        let length = size::<T>();
        let header = &mut self.messages[index].msg_hdr;
        let start: usize = header.msg_controllen as _;
        // SAFETY: it only computes a length.
        let space = unsafe { libc::CMSG_SPACE(length) } as usize;
        let room = &mut self.controls[index].0[start..start + space];
        header.msg_controllen = (start + space) as _;
        // The room is aligned, and so is the end of each message in it.
        let control: *mut libc::cmsghdr = room.as_mut_ptr().cast::<libc::c_void>().cast();
        // SAFETY: it only computes a length.
        let with_header = unsafe { libc::CMSG_LEN(length) };
        // SAFETY: there is room for it, which nobody else has a reference to.
        let head = unsafe { &mut *control };
        head.cmsg_level = level;
        head.cmsg_type = kind;
        head.cmsg_len = with_header as _;
        // SAFETY: the message's data follows its header within the room.
        let data = unsafe { libc::CMSG_DATA(control) };
        // SAFETY: there is room for a `T`, though it may not be aligned for one.
        unsafe { data.cast::<T>().write_unaligned(info) };
    }

    /// Returns the control messages that the kernel has written for message `index`.
    fn control(&self, index: usize) -> &[u8] {
        // The kernel says how much of the room it has used.
        let used: usize = self.messages[index].msg_hdr.msg_controllen as _;
        &self.controls[index].0[..used.min(CONTROL_BYTES)]
    }
}

/// Calls `found` with the level, the type and the data of each control message in `control`, which the kernel has
/// written, and which begins where a `cmsghdr` may.
fn each_control(control: &[u8], mut found: impl FnMut(i32, i32, &[u8])) {
    // SAFETY: it is made of plain numbers and pointers, for which zeros are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len() as _;
    let end = control.as_ptr_range().end;
    // SAFETY: the header points to control messages, and says how long they are.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: it is null or points to a message's header within the bytes.
    while let Some(head) = unsafe { message.as_ref() } {
        // SAFETY: it only computes a length.
        let before = unsafe { libc::CMSG_LEN(0) } as usize;
        // SAFETY: the message's data follows its header.
        let data = unsafe { libc::CMSG_DATA(message) };
        let left = (end as usize).saturating_sub(data as usize);
        let length: usize = head.cmsg_len as _;
        let length = length.saturating_sub(before).min(left);
        // SAFETY: the bytes are initialised, and `length` ends within them.
        let data = unsafe { std::slice::from_raw_parts(data, length) };
        found(head.cmsg_level, head.cmsg_type, data);
        // SAFETY: as for the first one; it gives null behind the last.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
}

/// Sends up to [`DATAGRAMS_PER_CALL_MAX`] datagrams at once.
pub(crate) struct Outbox {
    headers: Headers,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            headers: Headers::new(DATAGRAMS_PER_CALL_MAX),
        }
    }

    /// Offers the kernel as many of the datagrams as fit into a call. Returns how many it has
    /// taken, from the first on. The error is that of the first one: a later one that fails ends
    /// the call, and its error shows when it is offered as the first.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &impl AsRawFd,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count: libc::c_uint = 0;
        for (index, datagram) in datagrams.take(self.headers.len()).enumerate() {
            let payload = datagram.payload;
            // The kernel only reads what is sent.
            self.headers
                .set(index, payload.as_ptr().cast_mut(), payload.len());
            self.headers.set_name(index, datagram.to);
            self.headers.set_controls(index, &datagram);
            count += 1;
        }
        let messages = self.headers.messages.as_mut_ptr();
        let (fd, count) = (socket.as_raw_fd(), count);
        // SAFETY: the first `count` messages have just been set to payloads that are borrowed for
        // longer than this call, and to names and control messages of our own.
        let sent = unsafe { libc::sendmmsg(fd, messages, count, libc::MSG_DONTWAIT as _) };
        Ok(Errno::result(sent)?.unsigned_abs() as usize)
    }
}

/// Receives many datagrams at once, entries of an error queue, or a part of a stream.
pub(crate) struct Inbox {
    headers: Headers,
    payload: Box<[u8]>,
    stride: usize,
    each: usize,
    /// Messages that are asked for. This follows what comes.
    room: usize,
    count: usize,
}

impl Inbox {
    /// Makes room for `count` messages of `each` bytes. Memory that no message reaches is not
    /// resident.
    pub(crate) fn new(count: usize, each: usize) -> Self {
        let stride = each.next_multiple_of(64) + STAGGER_BYTES;
        Self {
            headers: Headers::new(count),
            payload: vec![0; stride * count].into(),
            stride,
            each,
            room: FIRST_ROOM.min(count),
            count: 0,
        }
    }

    /// Takes at most `most` of the datagrams that have come. Returns how many, and whether there
    /// may be more. An empty queue is the error `WouldBlock`.
    pub(crate) fn receive(
        &mut self,
        socket: &impl AsRawFd,
        most: usize,
    ) -> io::Result<(usize, bool)> {
        self.take(socket.as_raw_fd(), most, self.each, 0)
    }

    /// Takes entries off a socket's error queue; otherwise as [`receive`](Self::receive). `with_quotes`: ICMP errors
    /// are read with what they quote. Else only the control messages are read, and a stamp has no payload.
    pub(crate) fn receive_errors(
        &mut self,
        socket: &impl AsRawFd,
        with_quotes: bool,
    ) -> io::Result<(usize, bool)> {
        let each = if with_quotes { self.each } else { 0 };
        self.take(socket.as_raw_fd(), usize::MAX, each, libc::MSG_ERRQUEUE)
    }

    fn take(
        &mut self,
        fd: RawFd,
        most: usize,
        each: usize,
        flags: i32,
    ) -> io::Result<(usize, bool)> {
        self.count = 0;
        let room = self.room.min(most);
        let payload = self.payload.as_mut_ptr();
        let mut offered: libc::c_uint = 0;
        for index in 0..room {
            offered += 1;
            let bytes = payload.wrapping_add(index * self.stride);
            self.headers.set(index, bytes, each);
        }
        let messages = self.headers.messages.as_mut_ptr();
        let flags = flags | libc::MSG_DONTWAIT;
        // SAFETY: the first `room` messages have just been set to parts of our own buffers that do
        // not overlap; there is no timeout.
        let came = unsafe {
            let none = std::ptr::null_mut();
            libc::recvmmsg(fd, messages, offered, flags as _, none)
        };
        self.count = Errno::result(came)?.unsigned_abs() as usize;
        let is_full = self.count == room;
        if is_full && room == self.room {
            self.room = (2 * room).min(self.headers.len());
        } else if self.count < self.room / 4 {
            self.room = (self.room / 2).max(FIRST_ROOM.min(self.headers.len()));
        }
        Ok((self.count, is_full))
    }

    /// Reads what a stream has, with the stamps of its last packet. An empty payload is its end. If
    /// nothing has come the error is `WouldBlock`.
    pub(crate) fn receive_stream(&mut self, socket: &impl AsRawFd) -> io::Result<Incoming<'_>> {
        self.headers.set(0, self.payload.as_mut_ptr(), self.each);
        let message = &mut self.headers.messages[0];
        // SAFETY: the first message has just been set to the beginning of our own buffer.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message.msg_hdr, 0) };
        let length = Errno::result(length)?;
        message.msg_len = length.try_into().unwrap_or(0);
        Ok(self.datagram(0))
    }

    /// Returns the datagram at this place, which is below the count that `receive` gave.
    pub(crate) fn datagram(&self, index: usize) -> Incoming<'_> {
        let message = &self.headers.messages[index];
        let length = (message.msg_len as usize).min(self.each);
        let start = index * self.stride;
        let payload = &self.payload[start..start + length];
        let from = socket_addr(&self.headers.names[index]);
        incoming(from, self.headers.control(index), payload)
    }

    /// Returns the number and the stamps of a packet that has left, from the error queue's entry at
    /// this place. `None` if the entry is about something else.
    pub(crate) fn transmitted(&self, index: usize) -> Option<(u32, Stamps)> {
        let (mut number, mut stamps) = (None, None);
        each_control(self.headers.control(index), |level, kind, data| {
            stamps = stamps.or_else(|| stamps_in(level, kind, data));
            number = number.or_else(|| number_in(level, kind, data));
        });
        number.zip(stamps)
    }

    /// Returns the ICMP error in the error queue's entry at this place. `None` if the entry is
    /// about something else, such as an error of this host itself.
    pub(crate) fn reported(&self, index: usize) -> Option<Report> {
        let mut found = None;
        each_control(self.headers.control(index), |level, kind, data| {
            if found.is_none() {
                found = report_in(level, kind, data);
            }
        });
        let to = socket_addr(&self.headers.names[index])?;
        let Incoming {
            stamps, payload, ..
        } = self.datagram(index);
        Some(Report {
            to,
            stamps,
            quote: payload.into(),
            ..found?
        })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Inbox")
            .field("room", &self.room)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

fn read<T: Copy>(data: &[u8]) -> Option<T> {
    let fits = data.len() >= size_of::<T>();
    // SAFETY: there are enough initialised bytes, and every `T` that it is called with is made of
    // plain numbers, of which any bytes are some.
    fits.then(|| unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// Returns the stamps in a control message.
fn stamps_in(level: i32, kind: i32, data: &[u8]) -> Option<Stamps> {
    if level != libc::SOL_SOCKET || kind != libc::SCM_TIMESTAMPING {
        return None;
    }
    // The kernel's, one that is no longer used, the interface's.
    let [system, _, interface] = read::<[libc::timespec; 3]>(data)?;
    Some(Stamps {
        software: wall(system.tv_sec, system.tv_nsec),
        hardware: wall(interface.tv_sec, interface.tv_nsec),
    })
}

/// Returns how many datagrams the socket's buffer has had no room for.
fn dropped_in(level: i32, kind: i32, data: &[u8]) -> Option<u32> {
    let is_count = (level, kind) == (libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
    read(data).filter(|_| is_count)
}

/// Returns the number of a transmit stamp.
fn number_in(level: i32, kind: i32, data: &[u8]) -> Option<u32> {
    // `SCM_TSTAMP_SND`, the stamp taken as the packet leaves. It is not in libc.
    const SENT: u32 = 0;
    let report = error_in(level, kind, data)?;
    let is_stamp = report.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING && report.ee_info == SENT;
    is_stamp.then_some(report.ee_data)
}

/// Returns why a datagram did not arrive, and who says so. What its control message does not have is left empty.
fn report_in(level: i32, kind: i32, data: &[u8]) -> Option<Report> {
    let report = error_in(level, kind, data)?;
    let trouble = icmp::trouble(report.ee_origin, report.ee_type, report.ee_code)?;
    let icmp = IcmpType {
        is_v6: report.ee_origin == libc::SO_EE_ORIGIN_ICMP6,
        kind: report.ee_type,
        code: report.ee_code,
    };
    // The sender of the ICMP error stands behind it (`SO_EE_OFFENDER`).
    let offender = data.get(size_of::<libc::sock_extended_err>()..)?;
    let by = match i32::from(read::<libc::sa_family_t>(offender)?) {
        libc::AF_INET => read::<libc::sockaddr_in>(offender)
            .map(|name| IpAddr::V4(u32::from_be(name.sin_addr.s_addr).into())),
        libc::AF_INET6 => read::<libc::sockaddr_in6>(offender)
            .map(|name| IpAddr::V6(name.sin6_addr.s6_addr.into()).to_canonical()),
        _ => None,
    };
    Some(Report {
        to: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        by,
        trouble,
        icmp,
        stamps: Stamps::default(),
        quote: Box::default(),
        extension_at: icmp::extension_at(report.ee_data),
    })
}

/// Returns the entry of an error queue in a control message.
fn error_in(level: i32, kind: i32, data: &[u8]) -> Option<libc::sock_extended_err> {
    let is_error = matches!(
        (level, kind),
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    );
    read(data).filter(|_| is_error)
}

/// Returns the TTL of a packet, or its hop limit.
fn ttl_in(level: i32, kind: i32, data: &[u8]) -> Option<u8> {
    let is_ttl = matches!(
        (level, kind),
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
    );
    let ttl = read::<libc::c_int>(data).filter(|_| is_ttl)?;
    u8::try_from(ttl).ok()
}

/// Returns the traffic class of a packet.
fn tos_in(level: i32, kind: i32, data: &[u8]) -> Option<u8> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TOS) => data.first().copied(),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => u8::try_from(read::<libc::c_int>(data)?).ok(),
        _ => None,
    }
}

/// Returns the address to answer from. For a packet to a broadcast or multicast address the system
/// decides.
fn local_address(level: i32, kind: i32, data: &[u8]) -> Option<IpAddr> {
    let address = match (level, kind) {
        // The specific destination is ours even if the packet was broadcast.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let info = read::<libc::in_pktinfo>(data)?;
            IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let info = read::<libc::in6_pktinfo>(data)?;
            IpAddr::V6(info.ipi6_addr.s6_addr.into())
        }
        _ => return None,
    };
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn socket_addr(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let bytes = std::ptr::from_ref(name).cast();
    // SAFETY: the structure is made of plain numbers, and was zeros before the kernel wrote into it.
    address_in(unsafe { std::slice::from_raw_parts(bytes, size_of_val(name)) })
}

fn address_in(name: &[u8]) -> Option<SocketAddr> {
    match i32::from(read::<libc::sa_family_t>(name)?) {
        libc::AF_INET => {
            let name = read::<libc::sockaddr_in>(name)?;
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            let port = u16::from_be(name.sin_port);
            Some(SocketAddrV4::new(address, port).into())
        }
        libc::AF_INET6 => {
            let name = read::<libc::sockaddr_in6>(name)?;
            let port = u16::from_be(name.sin6_port);
            let (flow, scope) = (name.sin6_flowinfo, name.sin6_scope_id);
            Some(SocketAddrV6::new(name.sin6_addr.s6_addr.into(), port, flow, scope).into())
        }
        _ => None,
    }
}

fn pktinfo_v4(from: IpAddr) -> libc::in_pktinfo {
    let from = match from {
        IpAddr::V4(from) => from,
        IpAddr::V6(from) => from.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from(from).to_be(),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

fn pktinfo_v6(from: IpAddr) -> libc::in6_pktinfo {
    let from = match from {
        IpAddr::V4(from) => from.to_ipv6_mapped(),
        IpAddr::V6(from) => from,
    };
    libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr {
            s6_addr: from.octets(),
        },
        ipi6_ifindex: 0,
    }
}
