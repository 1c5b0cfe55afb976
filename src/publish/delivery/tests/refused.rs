//! A batch that is never taken: what is at fault is found, counted and told, and all else is sent.

use super::*;
use crate::limits::REFUSED_PARTS_MAX;

/// A rig whose backend never takes a batch with one of these values, and a batch of all values under a number.
fn rig(values: i64, bad: &[i64]) -> Rig {
    let mut rig = Rig::new();
    rig.delivery.encoder.full_at = usize::MAX;
    rig.delivery.encoder.body_bytes = 0;
    rig.script.0.lock().bad = bad.iter().map(i64::to_string).collect();
    for value in 0..values {
        rig.delivery.publish(&gauge(value)).unwrap();
    }
    rig.delivery.cut();
    rig
}

/// The values of all batches that were taken, sorted.
fn taken(rig: &Rig) -> Vec<i64> {
    let taken = std::mem::take(&mut rig.script.0.lock().taken);
    let values = taken.iter().flat_map(|values| values.split(','));
    let mut values: Vec<i64> = values.map(|value| value.parse().unwrap()).collect();
    values.sort_unstable();
    values
}

#[test]
fn a_record_at_fault_takes_no_others_with_it() {
    let mut rig = rig(100, &[17, 81]);
    rig.batch(100);
    rig.settle();
    let good: Vec<i64> = (0..=100)
        .filter(|value| ![17, 81].contains(value))
        .collect();
    assert_eq!(taken(&rig), good, "each once");
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (99, 2));
    assert_eq!(rig.stats.queued(), crate::record::Queued::default());
    assert_eq!(rig.stats.retried(), 0);
    let errors = rig.said(Level::ERROR);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("value 81 and value 17: 400 bad row"),
        "{errors:?}"
    );
    assert!(rig.sent().len() < 40);
}

#[test]
fn where_all_is_at_fault_it_is_not_asked_for_each() {
    let all: Vec<i64> = (0..1_000).collect();
    let mut rig = rig(1_000, &all);
    rig.settle();
    assert!(rig.sent().len() <= 2 * REFUSED_PARTS_MAX + 1);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (0, 1_000));
    assert_eq!(rig.said(Level::ERROR).len(), 1);
}

#[test]
fn a_part_that_fails_is_sent_again_and_those_before_it_are_not() {
    let mut rig = rig(8, &[1]);
    // The whole is refused, its first half too, its second half is taken; then the backend is away.
    rig.answer([never("400"), never("400")]);
    for _ in 0..3 {
        rig.sender.turn();
    }
    assert_eq!(taken(&rig), [4, 5, 6, 7]);
    rig.script.0.lock().is_down = true;
    let wait = rig.wait();
    let before = rig.script.0.lock().sent.last().cloned().unwrap();
    rig.script.0.lock().is_down = false;
    rig.sent();
    rig.pass(wait);
    rig.settle();
    let again = rig.script.0.lock().sent[0].clone();
    assert_eq!(
        (again.0, again.1),
        (before.0, before.1),
        "with its identity"
    );
    assert_eq!(taken(&rig), [0, 2, 3]);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (7, 1));
}

#[test]
fn what_is_left_of_a_batch_at_the_end_is_counted_once() {
    let mut rig = rig(8, &[1]);
    rig.answer([never("400"), never("400")]);
    for _ in 0..3 {
        rig.sender.turn();
    }
    rig.delivery.shared.leave(true);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (4, 4));
}
