//! With a spool: over a kill and a restart, and where the disk does not do as it should.

use std::fs;
use std::path::Path;

use super::*;

fn spooled(folder: &Path) -> DeliverySettings {
    DeliverySettings {
        spool_dir: Some(folder.to_owned()),
        buffer_mib: 4,
        ..DeliverySettings::default()
    }
}

fn open(folder: &Path) -> Rig {
    Rig::with(&spooled(folder), 10).unwrap()
}

#[test]
fn what_was_not_sent_before_a_kill_is_sent_after_it_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    rig.answer([later("away", None)]);
    rig.batches([1, 2, 3]);
    rig.wait();
    rig.pass(BACKOFF_FIRST);
    rig.answer([]);
    assert_eq!(rig.sender.turn(), Turn::Again, "one of three");
    let before = rig.script.0.lock().sent.clone();
    let bytes = rig.stats.queued().bytes;
    assert_eq!(rig.sent(), ["1", "1"]);
    let path = folder.path().join("lines.redb");
    // The file as it is at this moment is what a kill leaves.
    let killed = tempfile::tempdir().unwrap();
    fs::copy(&path, killed.path().join("lines.redb")).unwrap();
    drop(rig);

    let mut rig = open(killed.path());
    assert_eq!(rig.stats.queued().bytes, bytes);
    assert_eq!(
        rig.stats.queued().oldest,
        Some(Wall::from_unix_nanos(START)),
        "as old as it is"
    );
    assert!(rig.said(Level::INFO)[0].starts_with("2 records in 2 batches"));
    rig.batch(4);
    rig.settle();
    let ids: Vec<BatchId> = (rig.script.0.lock().sent.iter())
        .map(|(_, id, _)| *id)
        .collect();
    assert_eq!(rig.sent(), ["2", "3", "4"]);
    assert!(ids.iter().all(|id| *id != before[0].1));
    drop(rig);

    let mut rig = open(killed.path());
    rig.settle();
    assert!(rig.sent().is_empty(), "all is sent");
    assert!(rig.said.lock().is_empty());
}

#[test]
fn a_batch_keeps_its_identity_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    rig.script.0.lock().is_down = true;
    rig.batch(1);
    rig.wait();
    let id = rig.script.0.lock().sent[0].1;
    drop(rig);
    let mut rig = open(folder.path());
    rig.settle();
    assert_eq!(rig.script.0.lock().sent[0].1, id);
}

#[test]
fn finish_leaves_the_rest_on_disk_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    rig.script.0.lock().is_down = true;
    rig.batches([1, 2]);
    rig.delivery.publish(&gauge(3)).unwrap();
    rig.delivery.finish(Duration::ZERO).unwrap();
    assert_eq!(rig.stats.dropped(), 0);
    let said = rig.said(Level::INFO);
    assert!(
        said[0].starts_with("3 records in 3 batches wait in"),
        "{said:?}"
    );
    // The file is free although the thread may still be there.
    let mut next = open(folder.path());
    assert_eq!(rig.settle(), Turn::End);
    next.settle();
    assert_eq!(next.sent(), ["1", "2", "3"]);
}

#[test]
fn the_oldest_go_from_the_disk_too() {
    let mebibyte = 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::with(&spooled(folder.path()), mebibyte).unwrap();
    rig.batches(1..=7);
    assert_eq!(rig.stats.dropped(), 3);
    drop(rig);
    let smaller = DeliverySettings {
        buffer_mib: 2,
        ..spooled(folder.path())
    };
    let mut rig = Rig::with(&smaller, mebibyte).unwrap();
    assert_eq!(rig.stats.dropped(), 2, "there is room for two");
    rig.settle();
    assert_eq!(rig.sent(), ["6", "7"]);
}

#[test]
fn a_mistyped_key_at_a_restart_leaves_the_spool_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    rig.script.0.lock().is_down = true;
    rig.batches([1, 2, 3]);
    rig.wait();
    drop(rig);

    let mut rig = open(folder.path());
    rig.answer(std::iter::repeat_with(|| barred("403 bad key")).take(9));
    for _ in 0..8 {
        let wait = rig.wait();
        rig.pass(wait);
    }
    rig.wait();
    assert_eq!(rig.sent(), ["1"; 9], "nothing behind it is tried");
    rig.batch(4);
    drop(rig);

    let mut rig = open(folder.path());
    rig.settle();
    assert_eq!(rig.sent(), ["1", "2", "3", "4"]);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (4, 0));
}

#[test]
fn with_a_spool_a_batch_is_closed_every_second() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        open(folder.path()).delivery.gathering.every_ns,
        1_000_000_000
    );
}

#[test]
fn a_spool_is_one_daemons() {
    let folder = tempfile::tempdir().unwrap();
    let _rig = open(folder.path());
    let error = Rig::with(&spooled(folder.path()), 10).err().unwrap();
    assert!(matches!(
        error,
        DeliveryError::Spool(SpoolError::InUse { .. })
    ));
    assert!(
        error.to_string().contains("lines.redb is in use"),
        "{error}"
    );
}

#[test]
fn what_is_no_spool_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.redb");
    let mut other = Vec::new();
    {
        let elsewhere = folder.path().join("other");
        let database = redb::Database::create(&elsewhere).unwrap();
        let writing = database.begin_write().unwrap();
        let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("mine");
        writing.open_table(table).unwrap().insert(1, 2).unwrap();
        writing.commit().unwrap();
        drop(database);
        other.extend(fs::read(elsewhere).unwrap());
    }
    let contents = [
        b"a text".to_vec(),
        vec![0; 100_000],
        b"x".repeat(100_000),
        other.clone(),
        other[..other.len() / 2].to_vec(),
        other[..20].to_vec(),
    ];
    for (number, content) in contents.into_iter().enumerate() {
        fs::write(&path, &content).unwrap();
        let error = Rig::with(&spooled(folder.path()), 10).err();
        let error = error.unwrap_or_else(|| panic!("content {number} is taken"));
        assert!(
            matches!(error, DeliveryError::Spool(SpoolError::Unreadable { .. })),
            "{number}: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("lines.redb") && text.contains("move it away"),
            "{text}"
        );
    }
}

#[test]
fn a_damaged_spool_is_an_error_or_is_read_but_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.redb");
    let mut rig = Rig::with(&spooled(folder.path()), 3_000).unwrap();
    rig.batches(1..=20);
    drop(rig);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(place).take(64) {
            *byte ^= 0xA5;
        }
        fs::write(&path, &damaged).unwrap();
        match Rig::with(&spooled(folder.path()), 10) {
            Ok(mut rig) => {
                rig.settle();
            }
            Err(DeliveryError::Spool(SpoolError::Unreadable { .. })) => refused += 1,
            Err(error) => panic!("{place}: {error:?}"),
        }
    }
    assert!(refused > 0);
}

#[test]
fn without_a_disk_memory_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = open(folder.path());
    rig.batch(1);
    rig.delivery.shared.break_spool();
    rig.batches([2, 3]);
    assert_eq!(rig.stats.spool_failed(), 2);
    assert_eq!(rig.said(Level::ERROR).len(), 1, "once");
    // The first one cannot be read; it does not hold up the others for ever.
    while let Turn::Wait(_, Some(wait)) = rig.settle() {
        rig.pass(wait);
    }
    assert_eq!(rig.sent(), ["2", "3"]);
    assert_eq!((rig.stats.sent(), rig.stats.dropped()), (2, 1));
}
