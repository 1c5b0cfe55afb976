//! Which addresses of a name are used.

use super::{effective, faults, parse, target};
use crate::config::{Config, TargetOptions};
use crate::limits::TAGS_BYTES_MAX;
use crate::proto::Family;

/// Files, and what is said about them.
pub(super) const MISTAKES: &[(&str, &str)] = &[
    (
        "family = 5",
        "line 1: `family` must be \"auto\" or 4 or 6, not 5",
    ),
    (
        "[[targets]]\nhost = 'a.example'\nfamily = '7'",
        "line 3: `family` must be \"auto\" or 4 or 6, not the string \"7\"",
    ),
    (
        "family = 'ipv6'",
        "line 1: `family` must be \"auto\" or 4 or 6, not the string \"ipv6\"",
    ),
    (
        "every_address = 4",
        "line 1: `every_address` must be true or false, not 4",
    ),
    (
        "family = [4, 6]",
        "line 1: `family` must be \"auto\" or 4 or 6, not a list",
    ),
];

/// Those that only we find, and no schema.
const FINER_MISTAKES: &[(&str, &str)] = &[
    (
        "[[targets]]\nhost = '192.0.2.1'\nfamily = 6",
        "line 3: `family` is 6, and the target's address is 192.0.2.1, of IPv4: give 4, \"auto\", or an IPv6 address",
    ),
    (
        "family = 4\n[[targets]]\nhost = 'fe80::1%eth0'",
        "line 1: `family` is 4, and the target's address is fe80::1, of IPv6: give 6, \"auto\", or an IPv4 address",
    ),
    (
        "[[targets]]\nhost = 'a.example'\nsource = '2001:db8::1'\nfamily = 4",
        "line 4: `family` is 4, and `source` is 2001:db8::1, of IPv6: give 6, \"auto\", or an IPv4 address",
    ),
];

#[test]
fn a_mistake_is_told_with_its_line_and_what_would_be_right() {
    for (file, told) in MISTAKES.iter().chain(FINER_MISTAKES) {
        assert_eq!(faults(file), [*told], "{file}");
    }
}

#[test]
fn a_family_is_a_number_or_auto_of_a_target_or_of_all() {
    let of = |family: &str| target(&format!("[[targets]]\nhost = 'a.example'\n{family}")).family;
    assert_eq!(of(""), Family::Any);
    assert_eq!(of("family = 'AUTO'"), Family::Any);
    assert_eq!(of("family = 4"), Family::V4);
    assert_eq!(of("family = '6'"), Family::V6);
    let file =
        "family = 6\ntargets = [{ host = 'a.example' }, { host = '192.0.2.1', family = 'auto' }]";
    let config = parse(file);
    let families: Vec<Family> = config.targets.iter().map(|it| it.family).collect();
    assert_eq!(families, [Family::V6, Family::Any]);
    assert_eq!(parse(&effective(file)).targets, config.targets);
    // An IPv4 address that is mapped into IPv6 is one of IPv4.
    let mapped = "[[targets]]\nhost = '::ffff:192.0.2.1'\nfamily = 4";
    assert_eq!(target(mapped).family, Family::V4);
    let of_program = |family| {
        let options = TargetOptions::new("192.0.2.1").family(family);
        Config::default().target(options)
    };
    assert_eq!(
        of_program(Family::V4).map(|it| it.family).ok(),
        Some(Family::V4)
    );
    assert!(of_program(Family::V6).is_err());
}

#[test]
fn every_address_is_of_names_alone() {
    let all = parse(
        "every_address = true\ntargets = [{ host = 'a.example' }, { host = '192.0.2.1' }, \
         { host = 'fe80::1%eth0' }, { host = 'b.example', every_address = false }]",
    );
    let every: Vec<bool> = all.targets.iter().map(|it| it.every_address).collect();
    assert_eq!(every, [true, false, false, false]);
    assert_eq!(all.warnings, [""; 0], "it is meant for those with names");
    let one = parse("[[targets]]\nhost = '192.0.2.1'\nevery_address = true");
    assert_eq!(
        one.warnings,
        [
            "line 3: `every_address` has no effect: 192.0.2.1 is an address, and no name that may have several"
        ]
    );
    let program = TargetOptions::new("a.example").every_address(true);
    assert!(
        Config::default()
            .target(program)
            .is_ok_and(|it| it.every_address)
    );
    let full = format!(
        "[[targets]]\nhost = 'a.example'\ntags = ['{}']",
        "x".repeat(TAGS_BYTES_MAX - 30)
    );
    parse(&full);
    let told = faults(&format!("{full}\nevery_address = true"));
    assert_eq!(told.len(), 1, "{told:?}");
    let found = "line 3: `tags` with those of `dscp`, `source`, `interface` and `every_address` must be at most";
    assert!(told[0].starts_with(found), "{told:?}");
}
