//! Files that zstd has written, whole, cut and damaged.

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

fn zstd(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

#[test]
fn a_file_that_zstd_has_written_is_read_as_any() {
    let plain = text::page(&data_of(&dump()).unwrap());
    assert_eq!(text::page(&read_bytes(&zstd(&dump()))), plain);
    // As `cat a.zst b.zst` makes it, with an empty frame and one to be skipped between them.
    let text = dump();
    let (one, two) = text.split_at(text.len() / 3);
    let skipped = [
        &0x184d_2a53_u32.to_le_bytes()[..],
        &5_u32.to_le_bytes(),
        b"hello",
    ]
    .concat();
    let all = [zstd(one), zstd(""), skipped, zstd(two)].concat();
    assert_eq!(text::page(&read_bytes(&all)), plain);
    assert_eq!(read_bytes(&zstd("")).unread, ["a file: it is empty"]);
}

/// A frame that was cut shows every block before the cut, also what the decoder keeps for the blocks to come.
#[test]
fn a_file_of_zstd_that_was_cut_or_damaged_shows_what_is_there() {
    let lines: String = (1..=20_000)
        .map(|n| sample(n * 1_000_000, n * 37 % 9_973))
        .collect();
    let whole = zstd(&lines);
    let mut counts = Vec::new();
    for eighth in 1..8 {
        let cut = read_bytes(&whole[..whole.len() * eighth / 8]);
        assert!(
            unread(&cut).contains("it cannot be read to its end: "),
            "{:?}",
            cut.unread
        );
        counts.push(count_of(&cut));
    }
    assert!(counts.is_sorted() && counts[6] < 20_000, "{counts:?}");
    // A block has 128 KiB, some 1,200 lines.
    assert!(counts[6] > 20_000 * 7 / 8 - 2_500, "{counts:?}");
    for rest in [&b"rubbish"[..], &whole[..100], &[0; 512]] {
        let data = read_bytes(&[&whole, rest].concat());
        assert_eq!(count_of(&data), 20_000);
        assert!(
            unread(&data).contains("it cannot be read to its end"),
            "{rest:?}"
        );
    }
    // Whatever byte is another one, nothing panics, and something is told: the checksum at least does not fit.
    for place in (0..whole.len()).step_by(whole.len() / 13) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0xff;
        let data = read_bytes(&damaged);
        assert!(count_of(&data) <= 20_000);
    }
}
