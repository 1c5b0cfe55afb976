//! What the server's answers mean.

use crate::publish::SendError;
use crate::publish::http::Response;

/// The header with the number of what went wrong.
const CODE_HEADER: &str = "x-clickhouse-exception-code";

const UNKNOWN_TABLE: u32 = 60;
const UNKNOWN_DATABASE: u32 = 81;

/// Who we are is not known, or not proved: 192 to 194 and 516.
const IDENTITY: &[u32] = &[192, 193, 194, 516];

/// What else an operator mends: settings that the user may not give, a right, a quota.
const MENDABLE: &[u32] = &[164, 201, 452, 497];

/// The rows do not fit the table: a column is gone or has another type.
const SCHEMA: &[u32] = &[6, 16, 27, 33, 36, 47, 53, 70, 117, 349];

/// The table forbids what is in the rows; the server has this as a failure of its own.
const VIOLATED_CONSTRAINT: u32 = 469;

/// More than what stands before the server lets through.
const TOO_LARGE: u16 = 413;

/// Why a request was not answered as hoped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: SendError,
    pub(super) cause: Cause,
}

/// As far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The table is not there, or has not the columns that we need.
    Table,
    /// The columns are not as we thought.
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

/// The answer's text, or what its refusal means.
pub(super) fn judge(response: &Response) -> Result<String, Refusal> {
    let status = response.status();
    let header = response.header(CODE_HEADER);
    let code = header.and_then(|code| code.trim().parse().ok());
    if status.is_success() && code.is_none() {
        return Ok(response.text());
    }
    let code = code.or_else(|| code_in(&response.text()));
    let errors = Errors {
        later: response.later(),
        barred: response.barred(),
        never: response.never(),
    };
    Err(meaning(status.as_u16(), code, errors))
}

/// The same refusal as each of what it may mean.
pub(super) struct Errors {
    pub(super) later: SendError,
    pub(super) barred: SendError,
    pub(super) never: SendError,
}

/// Which of them it is, and what would be right. What can be mended on the server while we run is asked
/// for again as after an outage; who we are and where we ask is not.
pub(super) fn meaning(status: u16, code: Option<u32>, errors: Errors) -> Refusal {
    let Errors {
        later,
        barred,
        never,
    } = errors;
    let Some(code) = code else {
        // No word of the server's: something before it, or something else in its place.
        return Refusal::from(match status {
            TOO_LARGE => never,
            408 | 425 | 429 => later,
            300..=499 => hinted(
                barred,
                "this is no answer of ClickHouse: look at `host`, `port` and `secure`",
            ),
            _ => later,
        });
    };
    let (error, cause) = match code {
        UNKNOWN_TABLE => {
            let hint = "`latency-monitor schema clickhouse` prints the statements that make it";
            (hinted(later, hint), Cause::Table)
        }
        UNKNOWN_DATABASE => (hinted(barred, "look at `database`"), Cause::Other),
        code if IDENTITY.contains(&code) => (
            hinted(barred, "look at `username` and `password`"),
            Cause::Other,
        ),
        code if SCHEMA.contains(&code) => (never, Cause::Columns),
        code if MENDABLE.contains(&code) => (later, Cause::Other),
        VIOLATED_CONSTRAINT => (never, Cause::Other),
        _ if (400..=499).contains(&status) => (never, Cause::Other),
        _ => (later, Cause::Other),
    };
    Refusal { error, cause }
}

fn hinted(error: SendError, hint: &str) -> SendError {
    match error {
        SendError::Later { reason, after } => SendError::Later {
            reason: format!("{reason}; {hint}"),
            after,
        },
        SendError::Barred { reason } => SendError::Barred {
            reason: format!("{reason}; {hint}"),
        },
        SendError::Never { reason } => SendError::Never {
            reason: format!("{reason}; {hint}"),
        },
    }
}

/// The number in `Code: 60. DB::Exception`.
fn code_in(text: &str) -> Option<u32> {
    let (code, rest) = text.trim_start().strip_prefix("Code: ")?.split_once('.')?;
    rest.contains("DB::").then(|| code.parse().ok())?
}
