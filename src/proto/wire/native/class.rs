//! The Class of Service TLV (RFC 8972, section 4.4) as a sender of ours reads it.

use crate::proto::marks::Dscp;
use crate::proto::wire::native::tlv::CLASS_BYTES;

/// What a reflector says of code points (RFC 8972, section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassOfService {
    /// What the request arrived with.
    pub arrived: Dscp,
    /// The reply left with the one that the request asked for.
    pub is_as_asked: bool,
}

impl ClassOfService {
    /// Reads the TLV's value in a reply.
    pub(super) const fn read(value: [u8; CLASS_BYTES]) -> Self {
        let [first, second, ..] = value;
        let reverse_path = second & 0b11;
        Self {
            arrived: Dscp::of_class(first << 6 | (second & 0b1111_0000) >> 2),
            is_as_asked: reverse_path == 0,
        }
    }
}
