//! Rules for the strings of the configuration: hosts, names, tags, addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use url::Url;

use crate::config::glob::FileGlob;
use crate::config::value::{PORT_MAX, nearest, suggestion};
use crate::limits::{
    ALLOWED_PREFIXES_MAX, DISCOVERY_GLOBS_MAX, GROUPS_MAX, LISTEN_ADDRESSES_MAX, NAME_BYTES_MAX,
    TAGS_BYTES_MAX, TAGS_MAX, UDP_PORTS_MAX,
};
use crate::proto::wire::text::encode_tags;
use crate::proto::{Address, Host, Prefix, PrefixError, Why};
use crate::record::{Choice, ChoiceError, Event, Metric};

/// Bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Bytes of an interface's name (`IFNAMSIZ`, without its end).
const ZONE_BYTES_MAX: usize = 15;

/// Bytes of a label of a host name (the same section).
const HOST_LABEL_BYTES_MAX: usize = 63;

impl FromStr for Host {
    type Err = String;

    /// Parses an IP address of one host, or a host name. Neither has a port. A link-local address has
    /// its zone behind it (RFC 4007), and is looked up as a name is.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return match Address::from(address).fault() {
                Some(fault) => Err(format!(
                    "must be the address of one host: {address} {fault}"
                )),
                None => Ok(Self::Address(address)),
            };
        }
        let plain = text.bytes().all(|c| c.is_ascii_digit() || c == b'.') || !text.is_ascii();
        match url::Host::parse(text) {
            _ if is_name(text) || is_zoned(text) => Ok(Self::Name(text.into())),
            // Letters of other scripts, and what the C library takes for an address, as `127.1`.
            Ok(url::Host::Domain(name)) if plain && is_name(&name) => Ok(Self::Name(name.into())),
            Ok(url::Host::Ipv4(address)) if plain && text.contains('.') => {
                address.to_string().parse()
            }
            _ => Err(format!(
                "must be an IP address or a host name, without a port, not {text:?}"
            )),
        }
    }
}

/// Bytes of a backend's name: it is part of a file's name and of a thread's.
const BACKEND_NAME_BYTES_MAX: usize = 64;

/// Checks the name of a backend.
pub(super) fn backend_name(text: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let has_begin = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if has_begin && text.len() <= BACKEND_NAME_BYTES_MAX && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "must be a name of 1 to {BACKEND_NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`, not {text:?}"
    ))
}

/// Parses the address and port of a listener.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("must be an IP address and a port, as 127.0.0.1:8003 or [::1]:8003, not {text:?}")
    })
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=HOST_LABEL_BYTES_MAX).contains(&label.len()) && label.chars().all(is_letter)
    };
    // The root may be named, and is empty.
    let relative = text.strip_suffix('.').unwrap_or(text);
    let looks_like_ip = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    !looks_like_ip && text.len() <= HOST_BYTES_MAX && relative.split('.').all(is_label)
}

/// True for a link-local address with the name or number of an interface.
fn is_zoned(text: &str) -> bool {
    text.split_once('%').is_some_and(|(address, zone)| {
        let address = address.parse::<Ipv6Addr>();
        address.is_ok_and(|address| address.is_unicast_link_local())
            && (1..=ZONE_BYTES_MAX).contains(&zone.len())
            && zone.bytes().all(|c| c.is_ascii_graphic() && c != b'/')
    })
}

/// Checks an address of ours that packets leave from.
pub(super) fn source(text: &str) -> Result<(), String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("must be an IP address of this host, not {text:?}"))?;
    // The interface of a link-local one is that of the target.
    let is_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
    match Address::from(address).fault() {
        Some(fault) if !is_local => Err(format!(
            "must be an IP address of this host: {address} {fault}"
        )),
        _ => Ok(()),
    }
}

/// Checks the name of an interface.
pub(super) fn interface(text: &str) -> Result<(), String> {
    let is_plain = |c: u8| c.is_ascii_graphic() && !b"/:|".contains(&c);
    if (1..=ZONE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "must be the name of an interface, of 1 to {ZONE_BYTES_MAX} letters, as eth0, not {text:?}"
    ))
}

/// Checks a name that goes onto the wire and into tags.
pub(super) fn name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if name.contains('|') {
        Err(format!(
            "must have no `|`, which ends it on the wire, and no control character: {name:?}"
        ))
    } else {
        label(name)
    }
}

/// Checks what a target is called in tags. Without any it is called as its host.
pub(super) fn label(label: &str) -> Result<(), String> {
    if label.len() > NAME_BYTES_MAX {
        let len = label.len();
        Err(format!("must be at most {NAME_BYTES_MAX} bytes, not {len}"))
    } else if label.chars().any(char::is_control) {
        Err(format!("must have no control character: {label:?}"))
    } else {
        Ok(())
    }
}

/// Checks the tags of a target.
pub(super) fn tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("must be at most {TAGS_MAX}, not {}", tags.len()));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.contains('|')) {
        return Err(format!(
            "must have no `|`, which ends them on the wire: {tag:?}"
        ));
    }
    let len = encode_tags(tags).len();
    if len > TAGS_BYTES_MAX {
        return Err(format!(
            "must be at most {TAGS_BYTES_MAX} bytes written as a list, not {len}"
        ));
    }
    Ok(())
}

/// Checks the files of a discovery.
pub(super) fn lists(texts: &[String]) -> Result<(), String> {
    if !(1..=DISCOVERY_GLOBS_MAX).contains(&texts.len()) {
        let len = texts.len();
        return Err(format!(
            "must be 1 to {DISCOVERY_GLOBS_MAX} paths, not {len}"
        ));
    }
    texts
        .iter()
        .try_for_each(|text| FileGlob::parse(text).map(drop))
}

/// Checks the URL of a list of targets. It is shown, so it has no secret.
pub(super) fn list_url(text: &str) -> Result<(), String> {
    let wrong = |why: &str| format!("must be an http or https URL, not {text:?}{why}");
    let url: Url = text
        .parse()
        .map_err(|error| wrong(&format!(" ({error})")))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong(""));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "must have no user and no password: give them in a header of a file".to_owned(),
        );
    }
    Ok(())
}

/// Checks the groups of a member of a mesh.
pub(super) fn groups(groups: &[String]) -> Result<(), String> {
    if groups.len() > GROUPS_MAX {
        return Err(format!(
            "must be at most {GROUPS_MAX}, not {}",
            groups.len()
        ));
    }
    groups.iter().try_for_each(|group| {
        name(group).map_err(|fault| format!("has {group:?}, and a group {fault}"))
    })
}

/// Parses the addresses to listen on.
pub(super) fn addresses(texts: &[String]) -> Result<Vec<Host>, String> {
    if !(1..=LISTEN_ADDRESSES_MAX).contains(&texts.len()) {
        let len = texts.len();
        return Err(format!(
            "must be 1 to {LISTEN_ADDRESSES_MAX} addresses, not {len}"
        ));
    }
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for text in texts {
        match address(text) {
            Ok(address) if found.contains(&address) => faults.push(format!("has {address} twice")),
            Ok(address) => found.push(address),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults.join(", and "))
    }
}

/// Checks the ports to listen on.
pub(super) fn ports(ports: &[i64]) -> Result<(), String> {
    if !(1..=UDP_PORTS_MAX).contains(&ports.len()) {
        let len = ports.len();
        return Err(format!("must be 1 to {UDP_PORTS_MAX} ports, not {len}"));
    }
    let mut faults = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        if !(0..=PORT_MAX).contains(port) {
            faults.push(format!("must be 0 to {PORT_MAX}, not {port}"));
        } else if ports[..at].contains(port) {
            faults.push(format!("has {port} twice"));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join(", and "))
    }
}

/// Parses the prefixes that may ask.
pub(super) fn prefixes(texts: &[String]) -> Result<Vec<Prefix>, String> {
    if !(1..=ALLOWED_PREFIXES_MAX).contains(&texts.len()) {
        let len = texts.len();
        return Err(format!(
            "must be 1 to {ALLOWED_PREFIXES_MAX} prefixes, not {len}"
        ));
    }
    let parsed = texts.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, PrefixError>>()
        .map_err(|error| format!("has {error}"))
}

/// Parses an address or a prefix.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    let parsed = text.parse();
    parsed.map_err(|error: PrefixError| format!("is {error}"))
}

/// Parses an address of this host, or a name that leads to one. IPv6 may have brackets around it.
pub(super) fn address(text: &str) -> Result<Host, String> {
    let inside = text.strip_prefix('[');
    let bare = inside.and_then(|rest| rest.strip_suffix(']'));
    // The Python program takes the one for the other.
    let bare = match bare.unwrap_or(text) {
        "" | "*" => "0.0.0.0",
        bare => bare,
    };
    match bare.parse::<IpAddr>() {
        // Sockets take it for all addresses of this host.
        Ok(address) if address.is_unspecified() => Ok(Host::Address(address)),
        Ok(_) => bare
            .parse()
            .map_err(|fault: String| fault.replace("the address of one host", "an address of this host")),
        Err(_) => bare.parse().map_err(|_| {
            format!(
                "must be an address of this host, such as 0.0.0.0 or ::, or a name for one, not {text:?}"
            )
        }),
    }
}

/// Returns the event of this name that paths can be traced for.
pub(super) fn path_event(word: &str) -> Option<Why> {
    Why::EVENTS.into_iter().find(|why| why.as_str() == word)
}

/// Checks the events that paths are traced for.
pub(super) fn path_events(words: &[String]) -> Result<(), String> {
    let names = || Why::EVENTS.into_iter().map(Why::as_str);
    let Some(wrong) = words.iter().find(|word| path_event(word).is_none()) else {
        return Ok(());
    };
    let (all, hint) = (
        names().collect::<Vec<_>>(),
        suggestion(nearest(wrong, names())),
    );
    Err(format!(
        "has {wrong:?}, and must have some of {all:?}{hint}"
    ))
}

/// Parses which metrics a backend gets. An error names each one that is not in the table of metrics.
pub(super) fn metrics(names: &[String]) -> Result<Choice, String> {
    let fault = |name: &String| match Choice::of(&[name]) {
        Err(ChoiceError::Unknown(glob)) => {
            let names = Metric::all().map(|metric| metric.name);
            let near = nearest(&glob, names.chain(Event::NAMES));
            let hint = suggestion(near);
            Some(format!(
                "has {name:?}, and no metric or event is called so{hint}"
            ))
        }
        _ => None,
    };
    let faults: Vec<String> = names.iter().filter_map(fault).collect();
    if faults.is_empty() {
        Choice::of(names).map_err(|error| error.to_string())
    } else {
        Err(faults.join(", and "))
    }
}
