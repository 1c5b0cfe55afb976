//! The `cli` backend: one JSON line per record on standard output.

use std::fs::File;
use std::io::{self, Write};

use crate::publish::json::Encoder;
use crate::publish::whole::{Lost, WholeLines};
use crate::publish::{Backend, PublishError};
use crate::record::Record;

/// Bytes gathered before a write, which ends with a line. Log lines go to the same terminal and
/// must not land inside one of ours.
const GATHERED_BYTES: usize = 64 * 1024;

/// Writes JSON lines.
#[derive(Debug)]
pub struct Cli<W> {
    writer: WholeLines<W>,
    encoder: Encoder,
    lines: Vec<u8>,
}

impl Cli<File> {
    /// Writes to standard output.
    pub fn stdout() -> io::Result<Self> {
        WholeLines::to(io::stdout()).map(Self::with)
    }
}

impl<W: Write> Cli<W> {
    /// Writes to any stream. It needs no buffer, since it gets many whole lines at once.
    pub fn new(writer: W) -> Self {
        Self::with(WholeLines::stream(writer))
    }

    fn with(writer: WholeLines<W>) -> Self {
        Self {
            writer,
            encoder: Encoder::new(),
            lines: Vec::with_capacity(2 * GATHERED_BYTES),
        }
    }

    fn write(&mut self) -> Result<(), PublishError> {
        let result = self.writer.write(&self.lines);
        self.lines.clear();
        result.map_err(|Lost { lines, source }| match source.kind() {
            io::ErrorKind::BrokenPipe => PublishError::Closed,
            _ => PublishError::Write {
                lost: lines,
                source,
            },
        })
    }
}

impl<W: Write + Send> Backend for Cli<W> {
    fn name(&self) -> &'static str {
        "cli"
    }

    fn publish(&mut self, record: &Record) -> Result<(), PublishError> {
        self.encoder.encode(record, &mut self.lines);
        self.lines.push(b'\n');
        if self.lines.len() < GATHERED_BYTES {
            return Ok(());
        }
        self.write()
    }

    fn flush(&mut self) -> Result<(), PublishError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        self.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::gauge;

    #[derive(Default)]
    struct Pieces(Vec<Vec<u8>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn writes_whole_lines_and_many_at_once() {
        let mut cli = Cli::new(Pieces::default());
        for value in 0..2_000 {
            cli.publish(&gauge(value)).unwrap();
        }
        cli.flush().unwrap();
        cli.flush().unwrap();
        let pieces = cli.writer.out.0;
        assert!((2..10).contains(&pieces.len()), "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
        let lines = String::from_utf8(pieces.concat()).unwrap();
        assert_eq!(lines.lines().count(), 2_000);
        assert_eq!(lines.lines().nth(7), Some(gauge(7).to_json().as_str()));
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let mut cli = Cli::new(Broken(io::ErrorKind::BrokenPipe));
        cli.publish(&gauge(1)).unwrap();
        let error = cli.flush().unwrap_err();
        assert!(matches!(error, PublishError::Closed));
    }

    #[test]
    fn says_how_many_lines_a_failed_write_has_lost() {
        let mut cli = Cli::new(Broken(io::ErrorKind::StorageFull));
        cli.publish(&gauge(1)).unwrap();
        cli.publish(&gauge(2)).unwrap();
        assert_eq!(cli.flush().unwrap_err().lost(), 2);
        assert!(cli.flush().is_ok(), "what is lost is not lost twice");
    }
}
