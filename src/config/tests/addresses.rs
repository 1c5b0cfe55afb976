//! Which addresses are taken, for targets and to listen on.

use super::{faults, parse, target};
use crate::config::{Config, Overrides, TargetOptions};
use crate::proto::Host;

/// What a resolver must not answer either is judged by the same rule.
#[test]
fn an_address_that_is_no_host_s_is_neither_probed_nor_listened_on() {
    for (address, fault) in [
        ("::", "of no host"),
        ("::ffff:0.0.0.0", "of no host"),
        ("239.1.2.3", "of many hosts"),
        ("ff02::1", "of many hosts"),
        ("255.255.255.255", "of many hosts"),
        ("fe80::1", "lacks its interface, as in fe80::1%eth0"),
    ] {
        let told = faults(&format!("[[targets]]\nhost = '{address}'"));
        assert!(
            told.len() == 1 && told[0].ends_with(fault),
            "{address}: {told:?}"
        );
        let flagged = Config::default().target(TargetOptions::new(address));
        assert!(flagged.is_err(), "{address}");
        let told = Config::parse(&format!("address = '{address}'"), &Overrides::default());
        assert_eq!(told.is_ok(), address == "::", "{address}");
    }
    for host in ["ab..cd", ".ab", "ab..", "a b", "-%eth0", "2001:db8::1%eth0"] {
        let told = faults(&format!("[[targets]]\nhost = '{host}'"));
        assert!(
            told[0].contains("`host` must be an IP address or a host name"),
            "{told:?}"
        );
    }
    for zone in ["", "an-interface-of-16", "a b", "a/b"] {
        let told = faults(&format!("address = 'fe80::1%{zone}'"));
        assert!(
            told[0].contains("`address` must be an address of this host"),
            "{told:?}"
        );
    }
}

#[test]
fn a_link_local_address_has_its_zone_wherever_an_address_can_stand() {
    let zoned = Host::Name("fe80::1%eth0".into());
    let spec = target("[[targets]]\nhost = 'fe80::1%eth0'");
    assert_eq!((&spec.host, &*spec.label), (&zoned, "fe80::1%eth0"));
    let options = TargetOptions::new("fe80::1%7");
    let spec = Config::default().target(options).unwrap();
    assert_eq!(spec.host, Host::Name("fe80::1%7".into()));
    let any = parse("address = '0.0.0.0'").addresses;
    assert_eq!(parse("address = ''").addresses, any);
    let config = parse("address = ['::1', '[fe80::1%eth0]', 'ab.example.']");
    let wanted = [
        Host::Address("::1".parse().unwrap()),
        zoned,
        Host::Name("ab.example.".into()),
    ];
    assert_eq!(config.addresses, wanted);
}
