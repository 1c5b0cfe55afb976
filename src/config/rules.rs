//! Rules for the strings of the configuration: hosts, names, tags, addresses.

use std::net::IpAddr;
use std::str::FromStr;

use crate::limits::{LISTEN_ADDRESSES_MAX, NAME_BYTES_MAX, TAGS_BYTES_MAX, TAGS_MAX};
use crate::proto::Host;
use crate::proto::wire::text::encode_tags;

/// Bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Bytes of a label of a host name (the same section).
const HOST_LABEL_BYTES_MAX: usize = 63;

impl FromStr for Host {
    type Err = String;

    /// Parses an IP address of one host, or a host name. Neither has a port.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return if address.is_unspecified() || address.is_multicast() {
                Err(format!("must be the address of one host, not {address}"))
            } else {
                Ok(Self::Address(address))
            };
        }
        let is_name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let looks_like_ip = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_name = !text.is_empty()
            && text.len() <= HOST_BYTES_MAX
            && !looks_like_ip
            && text.chars().all(is_name_character)
            && text
                .split('.')
                .all(|label| label.len() <= HOST_LABEL_BYTES_MAX);
        if is_name {
            Ok(Self::Name(text.into()))
        } else {
            Err(format!(
                "must be an IP address or a host name, without a port, not {text:?}"
            ))
        }
    }
}

/// Checks a name that goes onto the wire and into tags.
pub(super) fn name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        let len = name.len();
        Err(format!("must be at most {NAME_BYTES_MAX} bytes, not {len}"))
    } else if name.contains('|') || name.chars().any(char::is_control) {
        Err(format!(
            "must have no `|`, which ends it on the wire, and no control character: {name:?}"
        ))
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

/// Parses the addresses to listen on.
pub(super) fn addresses(texts: &[String]) -> Result<Vec<IpAddr>, String> {
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

/// Parses an address of this host: IPv4, or IPv6 with or without brackets.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let inside = text.strip_prefix('[');
    let bare = inside.and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) if address.is_multicast() => {
            Err(format!("must be an address of this host, not {address}"))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(format!(
            "must be an IP address such as 0.0.0.0 or ::, not {text:?}"
        )),
    }
}
