//! What the packets of a target are marked with, and where they leave from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The names of code points (RFC 2474, 2597, 3246, 5865 and 8622).
const NAMES: [(&str, u8); 23] = [
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// A differentiated services code point (RFC 2474): six bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// The largest number.
    pub const MAX: u8 = 63;

    /// Returns the code point of a number from 0 to 63.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Returns the code point in a traffic class, whose lower two bits are ECN.
    pub const fn of_class(class: u8) -> Self {
        Self(class >> 2)
    }

    /// Returns its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Returns the traffic class with it, and without ECN.
    pub const fn class(self) -> u8 {
        self.0 << 2
    }
}

impl fmt::Display for Dscp {
    /// Writes its name, or its number if it has none.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => out.write_str(name),
            None => self.0.fmt(out),
        }
    }
}

impl FromStr for Dscp {
    type Err = String;

    /// Parses a name in either case, or a number.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named
            .map(|(_, number)| *number)
            .or_else(|| text.parse().ok());
        number.and_then(Self::new).ok_or_else(|| {
            format!(
                "must be a name such as \"ef\", \"af41\", \"cs6\" or \"le\", or a number from 0 to {}, not {text:?}",
                Self::MAX
            )
        })
    }
}

/// The source ports that the flows of a target may have, each of them another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePorts {
    first: u16,
    last: u16,
}

impl SourcePorts {
    /// Returns the range of these ports. `None` if it has none, or port 0.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first > 0 && first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// Returns how many ports these are.
    pub const fn count(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }

    /// Returns all of them in the order in which the flow at `place` tries them: its own first.
    pub fn from(self, place: u32) -> impl Iterator<Item = u16> {
        let own = self.first + u16::try_from(place % self.count()).unwrap_or(0);
        (own..=self.last).chain(self.first..own)
    }
}

impl fmt::Display for SourcePorts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => self.first.fmt(out),
            _ => write!(out, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for SourcePorts {
    type Err = String;

    /// Parses one port, or the first and the last of a range.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ports = first.trim().parse().ok().zip(last.trim().parse().ok());
        let range = ports.and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| {
            format!(
                "must be a port from 1 to 65535, or a range such as \"40000-40063\", not {text:?}"
            )
        })
    }
}

/// What every packet toward a target is marked with, handshakes included, and where it leaves from. What is not given
/// is as the system has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marks {
    /// The code point. The reflector answers with the same.
    pub dscp: Option<Dscp>,
    /// The address of ours that packets leave from.
    pub source: Option<IpAddr>,
    /// The interface, or the VRF's device, that packets leave by and come back by.
    pub interface: Option<Box<str>>,
    /// The ports of ours that packets leave from.
    pub source_ports: Option<SourcePorts>,
    /// The TTL of IPv4 and the hop limit of IPv6; at least 1.
    pub ttl: Option<u8>,
    /// True: packets leave whole, and IPv4 says that no router may cut them. False: routers may.
    pub df: Option<bool>,
}

impl Marks {
    /// True if flows with these marks and flows with others can leave from one socket, but for their port.
    pub fn agree_with(&self, other: &Self) -> bool {
        let ours = (self.dscp, self.source, &self.interface, self.ttl, self.df);
        ours == (
            other.dscp,
            other.source,
            &other.interface,
            other.ttl,
            other.df,
        )
    }

    /// Returns the tags that tell the series of targets apart whose packets are marked otherwise, or go by another way.
    pub fn tags(&self) -> impl Iterator<Item = String> {
        let via = match (&self.interface, self.source) {
            (Some(interface), Some(source)) => Some(format!("via:{source}%{interface}")),
            (Some(interface), None) => Some(format!("via:{interface}")),
            (None, Some(source)) => Some(format!("via:{source}")),
            (None, None) => None,
        };
        let dscp = self.dscp.map(|dscp| format!("dscp:{dscp}"));
        dscp.into_iter().chain(via)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_point_is_a_name_or_a_number() {
        for (text, number, shown) in [
            ("ef", 46, "ef"),
            ("EF", 46, "ef"),
            ("46", 46, "ef"),
            ("af41", 34, "af41"),
            ("Cs6", 48, "cs6"),
            ("0", 0, "cs0"),
            ("63", 63, "63"),
        ] {
            let dscp: Dscp = text.parse().expect(text);
            assert_eq!((dscp.number(), dscp.to_string().as_str()), (number, shown));
            assert_eq!(Dscp::of_class(dscp.class() | 3), dscp);
        }
        for text in ["64", "-1", "af44", "", "256", "e f"] {
            let told = text.parse::<Dscp>().expect_err(text);
            assert!(
                told.contains("\"af41\"") && told.contains("0 to 63"),
                "{told}"
            );
        }
    }

    #[test]
    fn the_flow_at_a_place_tries_its_own_port_first_and_then_all_others() {
        let range: SourcePorts = "40000-40002".parse().expect("a range");
        let from = |place| range.from(place).collect::<Vec<u16>>();
        assert_eq!(from(0), [40_000, 40_001, 40_002]);
        assert_eq!(from(1), [40_001, 40_002, 40_000]);
        assert_eq!(from(5), [40_002, 40_000, 40_001]);
        let one: SourcePorts = "65535".parse().expect("a port");
        assert_eq!(one.from(7).collect::<Vec<u16>>(), [65_535]);
        let all = SourcePorts::new(1, 65_535).expect("a range");
        assert_eq!((all.count(), all.from(9).count()), (65_535, 65_535));
        assert_eq!(
            [range.to_string(), one.to_string()],
            ["40000-40002", "65535"]
        );
    }

    #[test]
    fn what_is_no_range_of_ports_says_what_would_be() {
        for text in ["0", "0-5", "5-4", "65536", "1-", "-1", "a", "1-2-3", ""] {
            let told = text.parse::<SourcePorts>().expect_err(text);
            assert!(told.contains("\"40000-40063\""), "{told}");
        }
    }

    #[test]
    fn flows_agree_whatever_their_ports_are() {
        let marks = Marks {
            dscp: Dscp::new(46),
            ttl: Some(9),
            ..Marks::default()
        };
        let elsewhere = Marks {
            source_ports: SourcePorts::new(1, 2),
            ..marks.clone()
        };
        assert!(marks.agree_with(&elsewhere));
        for other in [
            Marks {
                dscp: None,
                ..marks.clone()
            },
            Marks {
                ttl: Some(8),
                ..marks.clone()
            },
            Marks {
                df: Some(false),
                ..marks.clone()
            },
            Marks {
                source: Some([127, 0, 0, 1].into()),
                ..marks.clone()
            },
            Marks {
                interface: Some("lo".into()),
                ..marks.clone()
            },
        ] {
            assert!(!marks.agree_with(&other), "{other:?}");
        }
    }
}
