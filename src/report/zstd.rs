//! Reads what zstd has written: frame by frame, and of one that was cut all that is there.

use std::fmt::Display;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The decoded bytes of a file. It holds a window of at most 100 MiB, which the decoder bounds.
pub(super) struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
    /// Why there is no more, told once all that was decoded has been read.
    end: Option<io::Error>,
}

/// The last block of a frame, with no byte in it, and the place of a checksum. It makes the decoder hand out the
/// window that it would otherwise keep for the blocks that a cut file lacks.
const LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

impl<R: BufRead> Zstd<R> {
    /// Wraps a file that begins with a frame.
    pub(super) fn new(source: R) -> Self {
        let decoder = FrameDecoder::new();
        Self {
            source,
            decoder,
            is_in_frame: false,
            end: None,
        }
    }

    /// Begins the next frame, past those that are to be skipped. Returns false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }

    /// Decodes one more block.
    fn block(&mut self) -> io::Result<()> {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        self.decoder
            .decode_blocks(&mut self.source, one)
            .map(|_| ())
            .map_err(invalid)
    }

    /// Checks the frame that has been decoded and read.
    fn check(&self) -> io::Result<()> {
        match self.decoder.get_checksum_from_data() {
            Some(sum) if self.decoder.get_calculated_checksum() != Some(sum) => {
                Err(invalid("the checksum does not fit"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        loop {
            if self.is_in_frame {
                let read = self.decoder.read(target)?;
                if read > 0 {
                    return Ok(read);
                }
                if let Some(error) = self.end.take() {
                    self.is_in_frame = false;
                    return Err(error);
                }
                if !self.decoder.is_finished() {
                    if let Err(error) = self.block() {
                        self.end = Some(error);
                        let one = BlockDecodingStrategy::UptoBlocks(1);
                        // Without it, what the window holds is lost; the error is told all the same.
                        let _ = self.decoder.decode_blocks(&LAST_BLOCK[..], one);
                    }
                    continue;
                }
                self.is_in_frame = false;
                self.check()?;
            }
            if !self.begin()? {
                return Ok(0);
            }
            self.is_in_frame = true;
        }
    }
}

fn invalid(error: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
