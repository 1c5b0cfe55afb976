//! The meaning of the server's answers.

use crate::publish::http::Response;
use crate::publish::{SendError, Verdict};

/// The header with the number of the server's exception.
const CODE_HEADER: &str = "x-clickhouse-exception-code";

/// What the numbers of exceptions mean. For all others the status decides.
const KNOWN: &[(&[u32], Meaning)] = &[
    // The table is unknown.
    (
        &[60],
        Meaning::new(
            Verdict::Later,
            Cause::Table,
            "`latency-monitor schema clickhouse` prints the statements that make it",
        ),
    ),
    // The database is unknown.
    (&[81], Meaning::barred("look at `database`")),
    // The user is unknown, or the password is wrong.
    (
        &[192, 193, 194, 516],
        Meaning::barred("look at `username` and `password`"),
    ),
    // The rows do not fit the table: a column is gone or has another type.
    (
        &[6, 16, 27, 33, 36, 47, 53, 70, 117, 349],
        Meaning::new(Verdict::Never, Cause::Columns, ""),
    ),
    // The server does not know a setting, or the user may not give it.
    (
        &[115, 164, 452],
        Meaning::new(Verdict::Later, Cause::Setting, ""),
    ),
    // What else an operator corrects: a right, a quota.
    (&[201, 497], Meaning::only(Verdict::Later)),
    // A constraint of the table forbids what is in the rows. The status is 500.
    (&[469], Meaning::only(Verdict::Never)),
];

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
    /// A setting of the insert.
    Setting,
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
    const fn new(verdict: Verdict, cause: Cause, hint: &'static str) -> Self {
        Self {
            verdict,
            cause,
            hint,
        }
    }

    const fn only(verdict: Verdict) -> Self {
        Self::new(verdict, Cause::Other, "")
    }

    const fn barred(hint: &'static str) -> Self {
        Self::new(Verdict::Barred, Cause::Other, hint)
    }

    /// From the status and the server's number, if the answer has one. What an operator can correct
    /// on the server while we run is for later; a wrong address or identity bars us.
    pub(super) fn of(status: u16, code: Option<u32>) -> Self {
        let known = KNOWN
            .iter()
            .find(|(codes, _)| code.is_some_and(|code| codes.contains(&code)));
        match (known, status) {
            (Some((_, meaning)), _) => *meaning,
            (None, 400..=499) if code.is_some() => Self::only(Verdict::Never),
            (None, _) if code.is_some() => Self::only(Verdict::Later),
            // Without a number the answer is that of a proxy, or of another server.
            (None, TOO_LARGE) => Self::only(Verdict::Never),
            (None, 408 | 425 | 429) => Self::only(Verdict::Later),
            (None, 300..=499) => {
                Self::barred("this is no answer of ClickHouse: look at `host`, `port` and `secure`")
            }
            (None, _) => Self::only(Verdict::Later),
        }
    }
}

/// The number in `Code: 60. DB::Exception`, or in `Code: 60, e.displayText() = DB::Exception` of old
/// servers.
fn code_in(text: &str) -> Option<u32> {
    let (code, rest) = text
        .trim_start()
        .strip_prefix("Code: ")?
        .split_once(['.', ','])?;
    rest.contains("DB::").then(|| code.parse().ok())?
}
