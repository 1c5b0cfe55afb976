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
        Some(Mono::ZERO),
        "for as long as this process has had it"
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
fn a_spool_has_the_name_of_its_kind_and_another_one_behind_it() {
    assert_eq!(spool_name("otlp", "otlp"), "otlp");
    // Another kind may have had that name before.
    assert_eq!(spool_name("otlp", "second"), "otlp-second");
    assert_eq!(spool_name("datadog", "second"), "datadog-second");
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
fn a_spool_is_one_daemons_and_the_next_one_has_it_once_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path());
    first.script.0.lock().is_down = true;
    first.batches([1, 2]);
    let mut rig = open(folder.path());
    let said = rig.said(Level::ERROR);
    assert!(said[0].contains("lines.redb is in use"), "{said:?}");
    rig.script.0.lock().is_down = true;
    rig.batches([3, 4]);
    assert_eq!(rig.stats.spool_failed(), 2, "they wait in memory");
    assert_eq!(rig.said(Level::ERROR).len(), 1, "told once");
    drop(first);
    // What the other left goes before what waits, and no key stands for two batches.
    rig.batch(5);
    let said = rig.said(Level::INFO);
    assert_eq!(
        said,
        [
            "the spool works again",
            "2 records in 2 batches wait from the last run"
        ]
    );
    rig.script.0.lock().is_down = false;
    rig.settle();
    assert_eq!(rig.sent(), ["1", "2", "3", "4", "5"]);
    assert_eq!(rig.stats.queued().bytes, 0);
}

#[test]
fn what_is_found_while_a_batch_is_sent_goes_behind_it() {
    let entry = |key| queue::Entry {
        key,
        records: 1,
        bytes: 1,
        created: Wall::from_unix_nanos(0),
        since: Mono::ZERO,
        attempts: 0,
        body: queue::Body::Spooled,
    };
    let mut queue = queue::Queue::new(100);
    queue.push(entry(0));
    queue.push(entry(1));
    queue.begin().unwrap();
    assert_eq!(queue.put_first(vec![entry(7), entry(8)]), 11);
    let keys: Vec<u64> = queue.entries_mut().map(|entry| entry.key).collect();
    assert_eq!(keys, [9, 7, 8, 10]);
    assert_eq!(queue.finished().unwrap().key, 9);
    assert_eq!(queue.queued().bytes, 3);
}

/// Databases that are whole, of another program and of another version of this one.
fn other_database(path: &Path, table: &str) -> Vec<u8> {
    let database = redb::Database::create(path).unwrap();
    let writing = database.begin_write().unwrap();
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new(table);
    writing.open_table(table).unwrap().insert(1, 2).unwrap();
    writing.commit().unwrap();
    drop(database);
    fs::read(path).unwrap()
}

#[test]
fn what_is_no_spool_is_set_aside_told_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.redb");
    let aside = folder.path().join("lines.redb.damaged");
    let other = other_database(&folder.path().join("other"), "mine");
    let contents = [
        Vec::new(),
        b"a text".to_vec(),
        vec![0; 100_000],
        b"x".repeat(100_000),
        other.clone(),
        other_database(&folder.path().join("next"), "latency-monitor batches 2"),
        other[..other.len() / 2].to_vec(),
        other[..20].to_vec(),
    ];
    for (number, content) in contents.into_iter().enumerate() {
        fs::write(&path, &content).unwrap();
        // The one that is cut in half is like one that a kill has left, until it is repaired.
        if number != 6 {
            let looked = look_at_spool(folder.path(), "lines").unwrap();
            assert!(looked.contains("lines.redb cannot be read"), "{looked}");
        }
        assert!(
            fs::read(&path).unwrap() == content,
            "a look changes nothing"
        );
        let mut rig = open(folder.path());
        let said = rig.said(Level::ERROR);
        assert!(
            said[0].contains("lines.redb.damaged, and a new one begins"),
            "{number}: {said:?}"
        );
        assert_eq!(rig.stats.spool_damaged(), 1, "{number}");
        // A database has a word in its head that says whether it was closed.
        let kept = fs::read(&aside).unwrap();
        assert_eq!(kept.len(), content.len(), "{number}");
        rig.batch(1);
        assert_eq!(rig.stats.spool_failed(), 0, "the new one takes batches");
        drop(rig);
        assert_eq!(look_at_spool(folder.path(), "lines"), None);
        let mut rig = open(folder.path());
        rig.settle();
        assert_eq!(rig.sent(), ["1"], "{number}");
    }
}

#[test]
fn a_damaged_spool_is_set_aside_or_read_and_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.redb");
    let mut rig = Rig::with(&spooled(folder.path()), 3_000).unwrap();
    rig.batches(1..=20);
    drop(rig);
    let whole = fs::read(&path).unwrap();
    let mut damaged = 0;
    for place in (0..whole.len()).step_by(whole.len() / 40) {
        let mut content = whole.clone();
        for byte in content.iter_mut().skip(place).take(64) {
            *byte ^= 0xA5;
        }
        fs::write(&path, &content).unwrap();
        let mut rig = open(folder.path());
        rig.batch(21);
        rig.settle();
        assert_eq!(rig.sent().last().unwrap(), "21", "{place}");
        damaged += rig.stats.spool_damaged();
    }
    assert!(damaged > 0);
}

#[test]
fn what_a_kill_leaves_of_a_spool_that_is_being_made_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("lines.redb.new");
    let whole = other_database(&folder.path().join("other"), "mine");
    for content in [
        &[][..],
        b"redb",
        &whole[..whole.len() / 2],
        &whole,
        &[0; 9_000],
    ] {
        let _ = fs::remove_file(folder.path().join("lines.redb"));
        fs::write(&fresh, content).unwrap();
        assert_eq!(look_at_spool(folder.path(), "lines"), None);
        let mut rig = open(folder.path());
        assert!(rig.said.lock().is_empty(), "{:?}", rig.said.lock());
        rig.batch(1);
        assert_eq!(rig.stats.spool_failed(), 0);
        assert!(!fresh.exists());
    }
}

#[test]
fn a_disk_that_refuses_the_file_at_the_start_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "no folder").unwrap();
    let is_folder = folder.path().join("lines.redb");
    fs::create_dir(&is_folder).unwrap();
    for spool_dir in [blocked.as_path(), folder.path()] {
        let mut rig = open(spool_dir);
        let said = rig.said(Level::ERROR);
        let wanted = "the spool fails, batches wait in memory: cannot open the spool";
        assert!(said[0].starts_with(wanted), "{said:?}");
        rig.batches([1, 2]);
        rig.settle();
        assert_eq!(rig.sent(), ["1", "2"]);
        assert_eq!(rig.stats.spool_failed(), 2);
    }
    assert!(is_folder.is_dir(), "it is no damaged file");
    let looked = look_at_spool(folder.path(), "lines").unwrap();
    assert!(looked.contains("cannot be opened"), "{looked}");
    fs::remove_dir(&is_folder).unwrap();
    // It is mended while the daemon runs.
    let mut rig = open(folder.path());
    rig.batch(3);
    assert_eq!(rig.stats.spool_failed(), 0);
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
