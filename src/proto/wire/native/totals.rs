//! What a reflector of ours says of its host, in the bytes of a reply's private TLV where a request has its offset.

use crate::proto::presence::HostTotals;
use crate::proto::wire::native::{ours, put, u32_at};

/// Set if the reflector says how long its process was kept from running.
const FLAG_KEPT: u8 = 0x04;

/// Set if it says how long its kernel stood still, too.
const FLAG_STEAL: u8 = 0x08;

const KEPT: usize = 52;
const STEAL: usize = 56;

/// Reads them; `None` if the reflector is older than they are.
pub(super) fn read(value: &[u8]) -> Option<HostTotals> {
    let flags = value[ours::FLAGS];
    (flags & FLAG_KEPT != 0).then(|| HostTotals {
        kept_us: u32_at(value, KEPT),
        steal_us: (flags & FLAG_STEAL != 0).then(|| u32_at(value, STEAL)),
    })
}

/// Writes them into a reply's value, which is zero there.
pub(super) fn write(value: &mut [u8], totals: HostTotals) {
    value[ours::FLAGS] |= FLAG_KEPT;
    put(value, KEPT, totals.kept_us.to_be_bytes());
    if let Some(steal_us) = totals.steal_us {
        value[ours::FLAGS] |= FLAG_STEAL;
        put(value, STEAL, steal_us.to_be_bytes());
    }
}
