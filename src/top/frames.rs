//! Server-sent events, read line by line (WHATWG HTML, section 9.2).

use std::io::{BufRead, BufReader, Read};

use crate::limits::TOP_LINE_BYTES_MAX;

/// What a daemon has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: String,
    pub(super) data: Vec<u8>,
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Frames<R> {
    reader: BufReader<R>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(64 * 1024, reader);
        Self { reader }
    }

    /// Waits for the next frame. The error says why there is none.
    pub(super) fn next(&mut self) -> Result<Frame, String> {
        let (mut kind, mut data, mut line) = (String::new(), Vec::new(), Vec::new());
        loop {
            line.clear();
            let mut limited = self.reader.by_ref().take(TOP_LINE_BYTES_MAX);
            let read = limited.read_until(b'\n', &mut line);
            read.map_err(|error| format!("it tells nothing any more: {}", reason(&error)))?;
            let Some(text) = line.strip_suffix(b"\n") else {
                return Err(match line.len() as u64 {
                    TOP_LINE_BYTES_MAX => {
                        format!("it sends a line of more than {TOP_LINE_BYTES_MAX} bytes")
                    }
                    _ => "it has closed the connection".to_owned(),
                });
            };
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                if !data.is_empty() {
                    return Ok(Frame { kind, data });
                }
                kind.clear();
            } else if let Some(name) = text.strip_prefix(b"event: ") {
                kind = String::from_utf8_lossy(name).into_owned();
            } else if let Some(more) = text.strip_prefix(b"data: ") {
                // A daemon sends one line. Whoever sends more of them sends no JSON of ours.
                data = more.to_vec();
            }
        }
    }
}

/// Returns what an error is caused by: the outermost one says only that a body could not be read.
fn reason(error: &std::io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_between_comments() {
        let sent: &[u8] =
            b": nothing\n\nevent: update\ndata: {\"a\": 1}\n\nevent: x\r\ndata: 2\r\n\r\ndata: cut";
        let mut frames = Frames::new(sent);
        let frame = |kind: &str, data: &[u8]| Frame {
            kind: kind.to_owned(),
            data: data.to_vec(),
        };
        assert_eq!(frames.next(), Ok(frame("update", b"{\"a\": 1}")));
        assert_eq!(frames.next(), Ok(frame("x", b"2")));
        assert!(frames.next().unwrap_err().contains("closed"));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let error = Frames::new(std::io::repeat(b'x')).next().unwrap_err();
        assert!(error.contains("67108864"), "{error}");
    }
}
