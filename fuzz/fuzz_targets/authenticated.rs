//! Authenticated packets, made with a right key or a wrong one, and then changed: what opens is what somebody with the
//! key has sealed, and a reflector answers it under that key alone.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use latency_monitor::proto::wire::native::authenticated::{
    self, AUTHENTICATED_BYTES, Direction, OVERHEAD_BYTES,
};
use latency_monitor::proto::wire::native::{BASE_BYTES, decode_request};
use latency_monitor::proto::{
    Arrival, Headers, Key, KeyRing, ListenerId, Mono, Now, Prober, ProberConfig, Wall,
};
use libfuzzer_sys::fuzz_target;

/// Bytes of an HMAC TLV, header and value.
const MAC_TLV_BYTES: usize = 20;
const PADDING: u8 = 1;
const HMAC: u8 = 8;

/// Fields of an open base that an authenticated one has.
const REQUEST_END: usize = 16;
const REPLY_GAPS: [std::ops::Range<usize>; 2] = [38..40, 41..BASE_BYTES];

/// The key that no reflector has.
const WRONG: usize = 4;

static KEYS: LazyLock<[Key; 5]> = LazyLock::new(|| {
    [1, 2, 3, 4, 5].map(|byte| Key::new(&[byte; 32]).expect("32 bytes are a key"))
});

/// The low bytes of the session identifiers that hint at each key: those under which a reflector opens its packets.
static HINTS: LazyLock<[u8; 5]> = LazyLock::new(|| {
    KEYS.each_ref().map(|key| {
        let mut keys = KeyRing::default();
        keys.is_required = true;
        keys.add("host", key.clone());
        let is_hint = |hint: &u8| {
            let mut packet = vec![0; BASE_BYTES];
            packet[14..16].copy_from_slice(&[1, *hint]);
            authenticated::seal(&mut packet, 0, Direction::Request, key, None);
            ask(&keys, &packet).answer.is_some()
        };
        let hints: Vec<u8> = (0..=u8::MAX).filter(is_hint).collect();
        assert_eq!(hints.len(), 1, "the low byte hints at a key");
        hints[0]
    })
});

/// What a reflector made of a packet.
struct Asked {
    answer: Option<Vec<u8>>,
    unauthentic: u64,
    corrupt: u64,
}

fn ask(keys: &KeyRing, packet: &[u8]) -> Asked {
    let mut reflector = Prober::new(ProberConfig {
        name: "b".into(),
        udp_ports: Vec::new(),
        accepted_max: 0,
        resolve_interval_ns: 60_000_000_000,
        seed: [1; 32],
        native: true,
        keys: keys.clone(),
    });
    let now = Now {
        mono: Mono::ZERO,
        wall: Wall::from_unix_nanos(1_795_000_000_000_000_000),
    };
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
    let headers = Headers::new(from, None, 862);
    reflector.handle_request(Arrival::unstamped(now), ListenerId(0), &headers, packet);
    let mut answer = Vec::new();
    let answer = reflector.poll_transmit(now, &mut answer).map(|_| answer);
    let counters = reflector.self_counters();
    Asked {
        answer,
        unauthentic: counters.unauthentic,
        corrupt: counters.corrupt,
    }
}

/// Takes bytes off the front; zeros when there are no more.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// A packet as its sender has it.
struct Open {
    direction: Direction,
    packet: Vec<u8>,
    mac_at: Option<usize>,
}

impl Open {
    /// Takes the head, says where the HMAC TLV is to be, and makes TLVs of the rest.
    fn draw(input: &mut Input<'_>, ssid: u16) -> Self {
        let how = input.byte();
        let direction = if how & 1 == 0 {
            Direction::Request
        } else {
            Direction::Reply
        };
        let at = input.word();
        let mut packet: Vec<u8> = (0..14).map(|_| input.byte()).collect();
        packet.extend_from_slice(&ssid.to_be_bytes());
        packet.resize(BASE_BYTES, 0);
        if direction == Direction::Reply {
            packet[16..].fill_with(|| input.byte());
            for gap in REPLY_GAPS {
                packet[gap].fill(0);
            }
        }
        packet.extend_from_slice(input.0);
        let mac_at = match how >> 1 & 0b11 {
            0 => None,
            1 => Some(packet.len()),
            2 => Some(BASE_BYTES),
            _ => Some(BASE_BYTES + usize::from(at) % (packet.len() + 1 - BASE_BYTES)),
        };
        Self {
            direction,
            packet,
            mac_at,
        }
    }

    fn sealed(&self, key: &Key) -> Vec<u8> {
        let mut out = b"before".to_vec();
        out.extend_from_slice(&self.packet);
        authenticated::seal(&mut out, 6, self.direction, key, self.mac_at);
        assert_eq!(out[..6], *b"before");
        out.split_off(6)
    }
}

/// The TLVs of RFC 8972 in these bytes, as where each begins, its type and its value; `None` if one is malformed.
fn tlvs(bytes: &[u8]) -> Option<Vec<(usize, u8, &[u8])>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let [_, code, high, low, behind @ ..] = rest else {
            return None;
        };
        let value = behind.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
        let is_of_its_length = match code {
            2 => value.len() >= 4,
            3 | 4 | 6 => value.len() == 4,
            5 => value.len() == 12,
            7 => value.len() == 16,
            _ => true,
        };
        if !is_of_its_length {
            return None;
        }
        found.push((bytes.len() - rest.len(), *code, value));
        rest = &behind[value.len()..];
    }
    Some(found)
}

/// Where the HMAC TLV is that covers all others but Extra Padding, and whether these may stand as they do.
fn cover(bytes: &[u8]) -> (Option<usize>, bool) {
    let Some(all) = tlvs(bytes) else {
        return (None, false);
    };
    let others: Vec<_> = all.iter().filter(|tlv| tlv.1 != PADDING).collect();
    match others[..] {
        [] => (None, true),
        [.., (at, HMAC, mac)] if mac.len() == 16 => {
            let is_only = others[..others.len() - 1]
                .iter()
                .all(|tlv| tlv.1 != HMAC || tlv.2.len() != 16);
            (Some(*at), is_only)
        }
        _ => (None, false),
    }
}

/// Changes a packet on its way. Returns whether it is another one then.
fn change(input: &mut Input<'_>, packet: &mut Vec<u8>) -> bool {
    let before = packet.clone();
    for _ in 0..input.byte() % 4 {
        let (how, at, byte) = (input.byte(), usize::from(input.word()), input.byte());
        match how % 5 {
            0 if !packet.is_empty() => {
                let at = at % packet.len();
                packet[at] ^= byte;
            }
            1 => packet.truncate(at),
            2 => packet.extend(std::iter::repeat_n(byte, at % 64)),
            // TLVs that somebody adds: padding, and others.
            3 => packet.extend_from_slice(&[byte, u8::try_from(at % 10).expect("a digit"), 0, 0]),
            4 if packet.len() > AUTHENTICATED_BYTES => {
                let from = AUTHENTICATED_BYTES + at % (packet.len() - AUTHENTICATED_BYTES);
                let bytes = usize::from(byte).min(packet.len() - from);
                packet.drain(from..from + bytes);
            }
            _ => {}
        }
    }
    *packet != before
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    // Who has sealed it, and which keys the reflector has: each for all identifiers, or for one.
    let signer = usize::from(input.byte() % 6);
    let has = input.byte();
    let ssid = match input.byte() % 4 {
        0 => 0,
        1 => u16::from_be_bytes([input.byte(), HINTS[signer.min(WRONG)]]),
        2 => 7,
        _ => input.word(),
    };
    let mut changes = Input(data.get(6..30).unwrap_or_default());
    let open = Open::draw(&mut input, ssid);
    let key = KEYS.get(signer);
    let mut packet = match key {
        Some(key) => open.sealed(key),
        None => open.packet.clone(),
    };
    if let Some(key) = key {
        check_unchanged(&open, &packet, key);
    }
    let whole = packet.clone();
    let is_changed = has & 0x80 != 0 && change(&mut changes, &mut packet);
    check_openings(&open, &whole, &packet, key, is_changed);
    check_ring(has, &packet);
});

/// What was sealed opens as it was, if an HMAC covers all of it.
fn check_unchanged(open: &Open, sealed: &[u8], key: &Key) {
    let more = match open.mac_at {
        Some(_) => OVERHEAD_BYTES,
        None => OVERHEAD_BYTES - MAC_TLV_BYTES,
    };
    assert_eq!(sealed.len(), open.packet.len() + more);
    let mut scratch = b"what was here".to_vec();
    let opened = authenticated::open(sealed, open.direction, key, &mut scratch);
    let (mac_at, is_covered) = cover(&sealed[AUTHENTICATED_BYTES..]);
    let mac_at = mac_at.map(|at| BASE_BYTES + at);
    // Somebody's TLV may be taken for ours, or take ours in: as padding it needs none.
    let is_found = is_covered && (mac_at.is_none() || mac_at == open.mac_at);
    assert_eq!(opened.is_some(), is_found);
    if let Some(opened) = opened {
        assert_eq!(opened.mac_at, mac_at);
        let base = &open.packet[..BASE_BYTES];
        let expected = match mac_at {
            Some(_) => open.packet.clone(),
            None => [base, &sealed[AUTHENTICATED_BYTES..]].concat(),
        };
        assert_eq!(opened.packet, expected);
    }
}

/// A packet that came opens under no other key, and if it was changed, only in what no HMAC covers.
fn check_openings(open: &Open, sealed: &[u8], packet: &[u8], key: Option<&Key>, is_changed: bool) {
    let mut scratch = Vec::new();
    for direction in [Direction::Request, Direction::Reply] {
        for other in KEYS.iter().filter(|other| Some(*other) != key) {
            assert!(authenticated::open(packet, direction, other, &mut scratch).is_none());
        }
        let Some(key) = key else { continue };
        let Some(opened) = authenticated::open(packet, direction, key, &mut scratch) else {
            continue;
        };
        assert_eq!(packet[..AUTHENTICATED_BYTES], sealed[..AUTHENTICATED_BYTES]);
        if direction == Direction::Request {
            assert_eq!(opened.packet[REQUEST_END..BASE_BYTES], [0; 28]);
            let says_nothing = open.packet[REQUEST_END..BASE_BYTES]
                .iter()
                .all(|byte| *byte == 0);
            assert!(open.direction == Direction::Request || says_nothing);
        }
        let (mac_at, is_covered) = cover(&packet[AUTHENTICATED_BYTES..]);
        assert!(is_covered);
        assert_eq!(opened.mac_at, mac_at.map(|at| BASE_BYTES + at));
        if let (true, Some(at)) = (is_changed, mac_at) {
            let tlvs = AUTHENTICATED_BYTES..AUTHENTICATED_BYTES + at;
            let tag = tlvs.end + 4..tlvs.end + MAC_TLV_BYTES;
            assert_eq!(packet.get(tlvs.clone()), sealed.get(tlvs));
            assert_eq!(packet.get(tag.clone()), sealed.get(tag));
        }
        let mut again = opened.packet.to_vec();
        let mac_at = opened.mac_at;
        authenticated::seal(&mut again, 0, direction, key, mac_at);
        assert_eq!(again.len(), packet.len());
        let opened = authenticated::open(&again, direction, key, &mut scratch);
        assert_eq!(opened.map(|opened| opened.mac_at), Some(mac_at));
    }
}

/// What a reflector passes over without a look at keys: it is no request, but what somebody's trace sends.
fn is_of_trace(packet: &[u8]) -> bool {
    packet.is_empty() || packet.len() == 12 && packet.starts_with(b"hops")
}

/// A reflector takes the first of its keys that a packet can be made with, and answers under it.
fn check_ring(has: u8, packet: &[u8]) {
    let mut keys = KeyRing::default();
    keys.is_required = has & 1 == 1;
    let mut found = None;
    let mut scratch = Vec::new();
    for (index, key) in KEYS[..WRONG].iter().enumerate() {
        let only = (has >> 5 & 0b11 == 1).then_some(7);
        if has >> (index + 1) & 1 == 0 {
            continue;
        }
        keys.add(if only.is_some() { "7" } else { "host" }, key.clone());
        let ssid = authenticated::ssid(packet);
        let may_be =
            ssid.is_some_and(|ssid| only == Some(ssid) || ssid.to_be_bytes()[1] == HINTS[index]);
        let opened = authenticated::open(packet, Direction::Request, key, &mut scratch);
        if let (true, None, Some(opened)) = (may_be, &found, opened) {
            found = Some((key, opened.packet.to_vec(), opened.mac_at));
        }
    }
    let asked = ask(&keys, packet);
    if is_of_trace(packet) {
        assert!(found.is_none() && asked.answer.is_none());
        assert_eq!((asked.unauthentic, asked.corrupt), (0, 0));
        return;
    }
    let Some((key, open, mac_at)) = found else {
        assert_eq!(asked.unauthentic, u64::from(keys.is_required));
        assert!(!keys.is_required || asked.answer.is_none());
        let longest = packet.len().max(BASE_BYTES);
        assert!(asked.answer.is_none_or(|answer| answer.len() <= longest));
        return;
    };
    assert_eq!(asked.unauthentic, 0);
    let Some(answer) = asked.answer else {
        assert_eq!(asked.corrupt, 1);
        return;
    };
    assert_eq!(answer.len(), packet.len());
    for other in &*KEYS {
        let opened = authenticated::open(&answer, Direction::Reply, other, &mut scratch);
        assert_eq!(opened.is_some(), other == key);
        if let Some(opened) = opened {
            assert_eq!(opened.mac_at, mac_at);
            assert_eq!(opened.packet[24..28], open[..4], "the sender's number");
            assert_eq!(decode_request(opened.packet).ok(), None);
        }
    }
    assert!(authenticated::open(&answer, Direction::Request, key, &mut scratch).is_none());
}
