//! The meaning of the server's answers.

use crate::publish::SendError;
use crate::publish::http::{Response, Verdict};

/// The header with the number of the server's exception.
const CODE_HEADER: &str = "x-clickhouse-exception-code";

const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;

/// The user is not known, or the password is wrong: 192 to 194 and 516.
const IDENTITY: &[u32] = &[192, 193, 194, 516];

/// What else an operator mends: settings that the user may not give, a right, a quota.
const MENDABLE: &[u32] = &[164, 201, 452, 497];

/// The rows do not fit the table: a column is gone or has another type.
const SCHEMA: &[u32] = &[6, 16, 27, 33, 36, 47, 53, 70, 117, 349];

/// The table forbids what is in the rows. The server reports this with status 500.
const VIOLATED_CONSTRAINT: u32 = 469;

/// The body is larger than a proxy lets through.
const TOO_LARGE: u16 = 413;

/// Why a request failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: SendError,
    pub(super) cause: Cause,
}

/// The cause of a failure, as far as the transport treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The table is not there, or lacks a column that is needed.
    Table,
    /// The columns have changed since they were asked for.
    Columns,
    Other,
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        Self {
            error,
            cause: Cause::Other,
        }
    }
}

/// Returns the text of a good answer, or why it is not one.
pub(super) fn judge(response: &Response) -> Result<String, Refusal> {
    let status = response.status();
    let header = response.header(CODE_HEADER);
    let code = header.and_then(|code| code.trim().parse().ok());
    if status.is_success() && code.is_none() {
        return Ok(response.text());
    }
    let code = code.or_else(|| code_in(&response.text()));
    let meaning = Meaning::of(status.as_u16(), code);
    Err(Refusal {
        error: response.error(meaning.verdict, meaning.hint),
        cause: meaning.cause,
    })
}

/// What an answer that is not a good one means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    pub(super) verdict: Verdict,
    pub(super) cause: Cause,
    /// What would be right.
    hint: &'static str,
}

impl Meaning {
    /// From the status and the server's number, if the answer has one. What an operator can mend on
    /// the server while we run is for later; a wrong address or identity bars us.
    pub(super) fn of(status: u16, code: Option<u32>) -> Self {
        let meaning = |verdict| Self {
            verdict,
            cause: Cause::Other,
            hint: "",
        };
        let Some(code) = code else {
            // Without a number the answer is that of a proxy, or of another server.
            return match status {
                TOO_LARGE => meaning(Verdict::Never),
                408 | 425 | 429 => meaning(Verdict::Later),
                300..=499 => Self {
                    hint: "this is no answer of ClickHouse: look at `host`, `port` and `secure`",
                    ..meaning(Verdict::Barred)
                },
                _ => meaning(Verdict::Later),
            };
        };
        match code {
            UNKNOWN_TABLE => Self {
                verdict: Verdict::Later,
                cause: Cause::Table,
                hint: "`latency-monitor schema clickhouse` prints the statements that make it",
            },
            UNKNOWN_DATABASE => Self {
                hint: "look at `database`",
                ..meaning(Verdict::Barred)
            },
            code if IDENTITY.contains(&code) => Self {
                hint: "look at `username` and `password`",
                ..meaning(Verdict::Barred)
            },
            code if SCHEMA.contains(&code) => Self {
                cause: Cause::Columns,
                ..meaning(Verdict::Never)
            },
            code if MENDABLE.contains(&code) => meaning(Verdict::Later),
            VIOLATED_CONSTRAINT => meaning(Verdict::Never),
            _ if (400..=499).contains(&status) => meaning(Verdict::Never),
            _ => meaning(Verdict::Later),
        }
    }
}

/// The number in `Code: 60. DB::Exception`.
fn code_in(text: &str) -> Option<u32> {
    let (code, rest) = text.trim_start().strip_prefix("Code: ")?.split_once('.')?;
    rest.contains("DB::").then(|| code.parse().ok())?
}
