//! Names of which each address is a target of its own.

use std::collections::BTreeMap;

use super::*;
use crate::limits::{EVERY_ADDRESS_MAX, POOL_STEPS_PER_TURN_MAX};
use crate::proto::life::LifeEvent;

const SECOND_US: u64 = 1_000_000;

/// A prober of a name, which is asked for its addresses.
struct Named {
    prober: Prober,
    pool: TargetId,
    us: u64,
    told: Vec<LifeEvent>,
}

impl Named {
    fn new(family: Family) -> Self {
        let mut prober = prober("near");
        let spec = TargetSpec {
            host: Host::Name("pool.example".into()),
            every_address: true,
            family,
            tags: ["isp:a".into()].into(),
            ..spec()
        };
        let pool = prober.add_target(at(0), spec).expect("room");
        let mut named = Self {
            prober,
            pool,
            us: 0,
            told: Vec::new(),
        };
        assert_eq!(named.asked(), 1);
        named
    }

    /// Has everything done that is due. Returns how often the name was asked for.
    fn asked(&mut self) -> usize {
        let (mut payload, mut asked) = (Vec::new(), 0);
        while let Some(transmit) = self.prober.poll_transmit(at(self.us), &mut payload) {
            if let Transmit::Resolve { target, .. } = transmit {
                assert_eq!(target, self.pool, "no address of it is looked up");
                asked += 1;
            }
        }
        let told = &mut self.told;
        self.prober.drain_outputs(|output| {
            if let Output::Life(life) = output
                && life.subject.kind.is_none()
            {
                told.push(life.event);
            }
        });
        asked
    }

    /// Gives an answer a second later, and the turns that it needs.
    fn answer(&mut self, answer: &[Address]) {
        self.us += SECOND_US;
        self.prober.handle_resolved(at(self.us), self.pool, answer);
        while self.prober.pools.are_due() {
            let before = self.prober.targets.len();
            assert!(self.prober.poll_timeout() <= Some(at(self.us).mono));
            self.prober.handle_timeout(at(self.us));
            let stepped = self.prober.targets.len().abs_diff(before);
            assert!(stepped <= POOL_STEPS_PER_TURN_MAX);
        }
        self.asked();
    }

    /// What is probed: the tag of the address, and who it is.
    fn probed(&self) -> BTreeMap<String, TargetId> {
        let of = |target: &Target| {
            let labels = &target.flows[0].window.subject.labels;
            let tags: Vec<String> = labels.tags.iter().map(ToString::to_string).collect();
            assert_eq!((&*labels.target, &*tags[0]), ("far", "isp:a"));
            (tags[1..].join(" "), target.id)
        };
        let targets = self.prober.targets.iter();
        targets.map(|(_, target)| of(target)).collect()
    }

    fn addresses(&self) -> Vec<String> {
        self.probed().into_keys().collect()
    }
}

fn ip(last: u8) -> Address {
    IpAddr::from([192, 0, 2, last]).into()
}

fn tags(last: &[u8]) -> Vec<String> {
    let tag = |last: &u8| format!("address:192.0.2.{last}");
    last.iter().map(tag).collect()
}

#[test]
fn addresses_come_at_once_and_go_after_three_answers_and_those_that_stay_are_not_touched() {
    let mut named = Named::new(Family::Any);
    assert!(named.probed().is_empty());
    named.answer(&[ip(1), ip(2)]);
    assert_eq!(named.addresses(), tags(&[1, 2]));
    let first = named.probed();
    named.answer(&[ip(3), ip(2)]);
    named.answer(&[ip(3), ip(2)]);
    named.answer(&[]);
    assert_eq!(named.addresses(), tags(&[1, 2, 3]), "two answers lack 1");
    let begun = named.probed();
    assert!(first.iter().all(|(tag, id)| begun.get(tag) == Some(id)));
    named.answer(&[ip(2), ip(3)]);
    assert_eq!(named.addresses(), tags(&[2, 3]));
    assert_eq!(
        named.probed()["address:192.0.2.2"],
        first["address:192.0.2.2"]
    );
    let begun = |address, is_first| LifeEvent::AddressBegun { address, is_first };
    let gone = LifeEvent::AddressGone {
        address: ip(1),
        answers: 3,
    };
    let told = [
        begun(ip(1), true),
        begun(ip(2), true),
        begun(ip(3), false),
        gone,
    ];
    assert_eq!(named.told, told);
    assert!(told[2].is_change() && !told[1].is_change());
    assert_eq!(
        told[3].to_string(),
        "192.0.2.1 is probed no more: 3 answers in a row for the name have lacked it"
    );
    assert!(named.prober.remove_target(named.pool));
    assert!(!named.prober.remove_target(named.pool));
    assert!(named.probed().is_empty());
    assert_eq!(named.prober.flows_open, 0);
    // An answer that comes late finds nobody.
    named.answer(&[ip(1)]);
    assert!(named.probed().is_empty());
}

#[test]
fn a_name_that_answers_with_some_of_its_addresses_keeps_all_of_them() {
    let mut named = Named::new(Family::Any);
    named.answer(&[ip(0), ip(1), ip(2), ip(3)]);
    let first = named.probed();
    // Two of four, each in every second answer.
    for turn in 0..100_u8 {
        named.answer(&[ip(turn % 2), ip(2 + turn % 2)]);
        assert_eq!(named.probed(), first);
    }
}

#[test]
fn addresses_of_another_family_are_none() {
    let mut named = Named::new(Family::V6);
    let six: Address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]).into();
    named.answer(&[ip(1), six]);
    assert_eq!(named.addresses(), ["address:2001:db8::1"]);
    for _ in 0..10 {
        named.answer(&[ip(1)]);
    }
    assert_eq!(named.addresses().len(), 1, "that is as no answer");
    let lacking = LifeEvent::NoFamily {
        family: Family::V6,
        other: ip(1),
    };
    assert_eq!(named.told[1..], [lacking]);
    assert_eq!(
        lacking.to_string(),
        "the name has no IPv6 address, but 192.0.2.1; trying again and again: give it one, or the target `family` 4 \
         or \"auto\""
    );
}

#[test]
fn a_name_has_a_bounded_number_of_targets_and_that_is_told_once() {
    let mut named = Named::new(Family::Any);
    let address = |number: usize| -> Address {
        let [.., high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high, low]).into()
    };
    let all: Vec<Address> = (0..EVERY_ADDRESS_MAX + 9).map(address).collect();
    let left_out = |told: &[LifeEvent]| {
        let is_left_out = |event: &&LifeEvent| matches!(event, LifeEvent::AddressLeftOut { .. });
        told.iter().filter(is_left_out).count()
    };
    for _ in 0..3 {
        named.answer(&all);
        assert_eq!(named.probed().len(), EVERY_ADDRESS_MAX);
        assert_eq!(left_out(&named.told), 1);
    }
    // Those of the end are there as well, and are as good: nothing moves.
    let first = named.probed();
    let turned: Vec<Address> = all.iter().rev().copied().collect();
    named.answer(&turned);
    assert_eq!(named.probed(), first);
    named.answer(&all[..EVERY_ADDRESS_MAX]);
    named.answer(&all);
    assert_eq!(left_out(&named.told), 2, "all had room in between");
}

#[test]
fn another_label_and_other_tags_are_those_of_each_address_and_of_those_that_come() {
    let mut named = Named::new(Family::Any);
    named.answer(&[ip(1)]);
    let before = named.probed();
    let tags = ["isp:a".into(), "site:b".into()];
    assert!(
        named
            .prober
            .set_labels(at(named.us), named.pool, "far", &tags)
    );
    named.answer(&[ip(1), ip(2)]);
    let after = named.probed();
    let found: Vec<&String> = after.keys().collect();
    assert_eq!(
        found,
        ["site:b address:192.0.2.1", "site:b address:192.0.2.2"]
    );
    assert_eq!(
        after[found[0]], before["address:192.0.2.1"],
        "its flows go on"
    );
}

#[test]
fn the_name_is_looked_up_by_time_and_sooner_after_a_failure() {
    let mut named = Named::new(Family::Any);
    named.answer(&[ip(1)]);
    // The prober is asked to look every minute; what an address loses is no reason.
    let began = named.us;
    let mut looked = Vec::new();
    while looked.len() < 3 {
        named.us += SECOND_US / 10;
        named.prober.handle_timeout(at(named.us));
        if named.asked() > 0 {
            looked.push((named.us - began) / SECOND_US);
            let answer: &[Address] = if looked.len() == 2 { &[] } else { &[ip(1)] };
            named
                .prober
                .handle_resolved(at(named.us), named.pool, answer);
        }
    }
    assert_eq!(looked[..2], [60, 120]);
    assert!((120..125).contains(&looked[2]), "{looked:?}");
    assert_eq!(named.probed().len(), 1);
}
