//! What is answered to which path.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task;
use tokio::time::{self, Instant};

use crate::clock::Clock;
use crate::limits::{HISTORY_INTERVALS_SHOWN_MAX, HTTP_LARGE_ANSWERS_MAX, HTTP_LISTENERS_MAX};
use crate::proto::FlowView;
use crate::publish::{Exposition, Format, Live, PastRange};
use crate::serve::access::{Access, Denied, Peer};
use crate::serve::body::Answered;
use crate::serve::busy::Busy;
use crate::serve::events::{Events, Listener};
use crate::serve::page::Page;
use crate::serve::{Answer, Asked, targets};

/// Columns of the past, if no other number is asked for.
const PAST_COLUMNS: i64 = 300;

/// Seconds of the past that may be asked for: ten years.
const PAST_S_MAX: i64 = 315_360_000;

/// The poll thread turns four times a second at least. One that has not for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// How long the poll thread, or a reload, may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// What there is to ask for.
const INDEX: &str = "\
latency-monitor

GET  /                this list; a browser gets a page that shows all of it live
GET  /metrics         the metrics, for Prometheus: as text, OpenMetrics or protobuf, by Accept
GET  /healthz         whether the poll thread turns
GET  /readyz          whether it listens, and how the last try of each backend ended
GET  /api/v1/targets  each flow: its 5-tuple, wire, clock, counters, last windows
GET  /api/v1/events   events as they happen (server-sent)
GET  /api/v1/live     all that is known, then each interval's figures and events as they come (server-sent)
GET  /api/v1/dumps    the dumps that this process has written, each with its burst
GET  /api/v1/report   with ?dump=NAME: the probes of a dump, drawn as a page
GET  /api/v1/past     the main figures of the last intervals; with ?pair=N&flow=udp all of one, with heatmaps;
                      with last=SECONDS those that are kept on the disk
POST /-/reload        read the configuration again
";

/// Answers requests.
pub(super) struct Router {
    exposition: Exposition,
    events: Events,
    asked: Arc<dyn Asked>,
    access: Arc<Access>,
    /// Shares of the answers that take memory.
    large: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    page: Page,
}

/// An answer before it is a response.
struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

impl Reply {
    fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind: TEXT,
            body: text.into(),
            share: None,
        }
    }

    fn json(body: Vec<u8>, share: OwnedSemaphorePermit) -> Self {
        Self {
            status: StatusCode::OK,
            kind: JSON,
            body: body.into(),
            share: Some(share),
        }
    }

    fn busy() -> Self {
        let text = "too many ask at one time: ask again\n";
        Self::text(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl Router {
    pub(super) fn new(
        exposition: Exposition,
        events: Events,
        asked: Arc<dyn Asked>,
        access: Arc<Access>,
    ) -> Self {
        Self {
            exposition,
            events,
            asked,
            access,
            large: Arc::new(Semaphore::new(HTTP_LARGE_ANSWERS_MAX)),
            listeners: Arc::new(Semaphore::new(HTTP_LISTENERS_MAX)),
            page: Page::new(),
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        deadline: &watch::Sender<Option<Instant>>,
    ) -> Result<Response<Answered>, Infallible> {
        let (head, _) = request.into_parts();
        let (method, path) = (&head.method, head.uri.path());
        let is_get = [Method::GET, Method::HEAD].contains(method);
        if path == "/" && is_get && wants_page(&head.headers) {
            // A browser can send no token with its first request, and there is nothing to hide in the page.
            return Ok(self.page(method, deadline));
        }
        if let Err(denied) = self.access.may_read(peer, &head.headers) {
            return Ok(respond(deny(denied), method, deadline));
        }
        let reply = match path {
            "/-/reload" if *method == Method::POST => self.reload(peer, &head.headers).await,
            "/-/reload" => not_allowed(),
            _ if !is_get => not_allowed(),
            "/" => Reply::text(StatusCode::OK, INDEX),
            "/metrics" => self.metrics(&head.headers),
            "/healthz" => self.health(),
            "/readyz" => self.readiness(),
            "/api/v1/targets" => self.targets().await,
            "/api/v1/past" => self.past(head.uri.query()).await,
            "/api/v1/dumps" => self.dumps(),
            "/api/v1/report" => match self.report(head.uri.query()).await {
                Ok(reply) => return Ok(report_page(reply, method, deadline)),
                Err(reply) => reply,
            },
            "/api/v1/events" | "/api/v1/live" => {
                let share = Arc::clone(&self.listeners).try_acquire_owned();
                let listener = match path {
                    "/api/v1/live" => self.watch().await,
                    _ => Ok(self.events.listen()),
                };
                match (share, listener) {
                    (Ok(share), Ok(listener)) => return Ok(stream(listener, share)),
                    (Err(_), _) => Reply::busy(),
                    (_, Err(reply)) => reply,
                }
            }
            _ => Reply::text(
                StatusCode::NOT_FOUND,
                "there is no such path: / lists those there are\n",
            ),
        };
        let mut response = respond(reply, method, deadline);
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = if path == "/-/reload" {
                "POST"
            } else {
                "GET, HEAD"
            };
            let allowed = hyper::header::HeaderValue::from_static(allowed);
            response.headers_mut().insert(ALLOW, allowed);
        }
        Ok(response)
    }

    fn page(
        &self,
        method: &Method,
        deadline: &watch::Sender<Option<Instant>>,
    ) -> Response<Answered> {
        let reply = Reply {
            status: StatusCode::OK,
            kind: HTML,
            body: self.page.html.clone(),
            share: None,
        };
        let mut response = respond(reply, method, deadline);
        let headers = response.headers_mut();
        let value = hyper::header::HeaderValue::from_static;
        headers.insert(CONTENT_SECURITY_POLICY, self.page.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, value("nosniff"));
        headers.insert(REFERRER_POLICY, value("no-referrer"));
        headers.insert(VARY, value("Accept"));
        response
    }

    fn metrics(&self, headers: &HeaderMap) -> Reply {
        let Some(share) = self.share() else {
            return Reply::busy();
        };
        let format = Format::accepted(&accepted(headers));
        Reply {
            status: StatusCode::OK,
            kind: format.content_type(),
            body: self.exposition.write(format).into(),
            share: Some(share),
        }
    }

    fn health(&self) -> Reply {
        let since = self.asked.since_turn();
        if since < STUCK_AFTER {
            return Reply::text(StatusCode::OK, "ok\n");
        }
        let text = format!(
            "the poll thread has not turned for {:.1} s\n",
            since.as_secs_f64()
        );
        Reply::text(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    fn readiness(&self) -> Reply {
        let mut is_ready = true;
        let mut text = "listening: yes\n".to_owned();
        for backend in self.asked.backends() {
            let state = match backend.last_try() {
                None => "nothing sent yet",
                Some(true) => "ok",
                Some(false) => "the last try failed",
            };
            is_ready &= backend.last_try() != Some(false);
            let _ = writeln!(text, "{}: {state}", backend.name());
        }
        let status = if is_ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Reply::text(status, text)
    }

    async fn targets(&self) -> Reply {
        let Some(share) = self.share() else {
            return Reply::busy();
        };
        match self.flows().await {
            Ok(flows) => Reply::json(targets::json(&flows, &self.exposition), share),
            Err(reply) => reply,
        }
    }

    async fn flows(&self) -> Result<Vec<FlowView>, Reply> {
        let flows = ask(|answer| self.asked.view(answer)).await;
        let text = "the poll thread does not answer\n";
        flows.ok_or_else(|| Reply::text(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    /// Begins to listen, with a snapshot. It has the share of a large answer while it is made.
    async fn watch(&self) -> Result<Listener, Reply> {
        let _share = self.share().ok_or_else(Reply::busy)?;
        // Before anything is read, so that nothing is missed in between.
        let listener = self.events.watch();
        let flows = self.flows().await?;
        let backends = self.asked.backends();
        let snapshot = targets::snapshot(&flows, &backends, &self.exposition);
        Ok(listener.beginning_with(snapshot))
    }

    async fn past(&self, query: Option<&str>) -> Reply {
        let Some(share) = self.share() else {
            return Reply::busy();
        };
        let live = self.exposition.live();
        let Some(query) = query else {
            return Reply::json(live.past(), share);
        };
        let value = |name: &str| {
            let mut parts = query.split('&').filter_map(|part| part.split_once('='));
            parts.find(|part| part.0 == name).map(|part| part.1)
        };
        let of = value("pair")
            .and_then(|pair| pair.parse().ok())
            .zip(value("flow"));
        if let Some(last) = value("last") {
            let Some(asked) = asked(last, value("columns")) else {
                let text =
                    "`last` is a number of seconds, `columns` one of columns, 2000 at most\n";
                return Reply::text(StatusCode::BAD_REQUEST, text);
            };
            let of = of.map(|(pair, flow)| (pair, flow.to_owned()));
            return kept(live.clone(), asked, of, share).await;
        }
        let Some((pair, flow)) = of else {
            let text = "both are needed: ?pair=NUMBER&flow=udp (or tcp, connect)\n";
            return Reply::text(StatusCode::BAD_REQUEST, text);
        };
        match live.past_of(pair, flow) {
            Some(json) => Reply::json(json, share),
            None => Reply::text(
                StatusCode::NOT_FOUND,
                "there is no such pair, or no such kind of flow\n",
            ),
        }
    }

    fn dumps(&self) -> Reply {
        let Some(share) = self.share() else {
            return Reply::busy();
        };
        Reply::json(targets::dumps(self.asked.dumps()), share)
    }

    /// Draws a dump. The thread that answers goes on meanwhile.
    async fn report(&self, query: Option<&str>) -> Result<Reply, Reply> {
        let refused = |status, text: &str| Reply::text(status, text.to_owned());
        let name = query.and_then(|query| query.strip_prefix("dump="));
        let Some(name) = name.map(str::to_owned) else {
            return Err(refused(
                StatusCode::BAD_REQUEST,
                "?dump=NAME is needed: /api/v1/dumps has the names\n",
            ));
        };
        let share = self.share().ok_or_else(Reply::busy)?;
        let asked = Arc::clone(&self.asked);
        let made = task::spawn_blocking(move || asked.report(&name)).await;
        match made {
            Ok(Some(Ok(page))) => Ok(Reply {
                status: StatusCode::OK,
                kind: HTML,
                body: page.into(),
                share: Some(share),
            }),
            Ok(Some(Err(why))) => Err(refused(
                StatusCode::UNPROCESSABLE_ENTITY,
                &format!("{why}\n"),
            )),
            Ok(None) => Err(refused(
                StatusCode::NOT_FOUND,
                "this process has written no such dump, or it is gone\n",
            )),
            Err(_) => Err(refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the report has failed; this is a bug\n",
            )),
        }
    }

    async fn reload(&self, peer: Peer, headers: &HeaderMap) -> Reply {
        if let Err(denied) = self.access.may_change(peer, headers) {
            return deny(denied);
        }
        match ask(|answer| self.asked.reload(answer)).await {
            Some(Ok(text)) => Reply::text(StatusCode::OK, format!("{text}\n")),
            Some(Err(text)) => Reply::text(StatusCode::UNPROCESSABLE_ENTITY, format!("{text}\n")),
            None => {
                let text = "the reload has not ended yet: the log will tell\n";
                Reply::text(StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }

    fn share(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.large).try_acquire_owned().ok()
    }
}

/// Returns a report as a page that is nobody's: its script may draw, and may ask for nothing.
fn report_page(
    reply: Reply,
    method: &Method,
    deadline: &watch::Sender<Option<Instant>>,
) -> Response<Answered> {
    let mut response = respond(reply, method, deadline);
    let headers = response.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert(
        CONTENT_SECURITY_POLICY,
        value("sandbox allow-scripts; frame-ancestors 'none'"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    headers.insert(REFERRER_POLICY, value("no-referrer"));
    response
}

/// Returns what of the past is asked for: the last seconds, up to now.
fn asked(last: &str, columns: Option<&str>) -> Option<PastRange> {
    let last_s: i64 = last
        .parse()
        .ok()
        .filter(|seconds| (1..=PAST_S_MAX).contains(seconds))?;
    let columns = columns.map_or(Some(PAST_COLUMNS), |columns| columns.parse().ok())?;
    let to_ns = Clock::new().now().wall.as_unix_nanos();
    (1..=HISTORY_INTERVALS_SHOWN_MAX)
        .contains(&columns)
        .then_some(PastRange {
            from_ns: to_ns.saturating_sub(last_s * 1_000_000_000),
            to_ns,
            columns,
        })
}

/// Answers from the disk, which a thread of its own waits for.
async fn kept(
    live: Live,
    asked: PastRange,
    of: Option<(u32, String)>,
    share: OwnedSemaphorePermit,
) -> Reply {
    if !live.has_kept() {
        let text = "this daemon keeps no past on its disk: it has no `dir` of [history]\n";
        return Reply::text(StatusCode::NOT_FOUND, text);
    }
    let read = task::spawn_blocking(move || match of {
        Some((pair, flow)) => live.kept_of(pair, &flow, asked),
        None => live.kept(asked),
    });
    match read.await {
        Ok(Ok(Some(json))) => Reply::json(json, share),
        Ok(Ok(None)) => Reply::text(
            StatusCode::NOT_FOUND,
            "there is no such pair, or no such kind of flow\n",
        ),
        Ok(Err(error)) => {
            let text = format!("the past on the disk cannot be read: {error}\n");
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        Err(_) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug\n"),
    }
}

/// Returns what a request asks for.
fn accepted(headers: &HeaderMap) -> String {
    let accept = headers.get_all(ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    accept.join(",")
}

/// True if a browser asks. Programs that take anything get text.
fn wants_page(headers: &HeaderMap) -> bool {
    accepted(headers).split(',').any(|range| {
        let media = range.split(';').next().unwrap_or_default();
        media.trim().eq_ignore_ascii_case("text/html")
    })
}

/// Returns the answer that goes on for as long as somebody listens.
fn stream(listener: Listener, share: OwnedSemaphorePermit) -> Response<Answered> {
    let mut response = Response::new(Answered::events(listener, share));
    let headers = response.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, value("text/event-stream"));
    headers.insert(CACHE_CONTROL, value("no-store"));
    response
}

/// Asks, and waits for the answer for a while.
async fn ask<T: Send + 'static>(question: impl FnOnce(Answer<T>)) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    question(Box::new(|answer| drop(sender.send(answer))));
    time::timeout(ASK_TIMEOUT, receiver).await.ok()?.ok()
}

fn not_allowed() -> Reply {
    Reply::text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has another method\n",
    )
}

fn deny(denied: Denied) -> Reply {
    let (status, text) = match denied {
        Denied::Token => (
            StatusCode::UNAUTHORIZED,
            "the token of `token_file` is needed: `Authorization: Bearer ...`\n",
        ),
        Denied::Reload => (
            StatusCode::FORBIDDEN,
            "a reload from another host needs a token (`token_file`) or a certificate (`client_ca_file`)\n",
        ),
        Denied::Browser => (
            StatusCode::FORBIDDEN,
            "no page in a browser may ask for this\n",
        ),
    };
    Reply::text(status, text)
}

fn respond(
    reply: Reply,
    method: &Method,
    deadline: &watch::Sender<Option<Instant>>,
) -> Response<Answered> {
    let Reply {
        status,
        kind,
        body,
        share,
    } = reply;
    let body = if *method == Method::HEAD {
        Bytes::new()
    } else {
        body
    };
    let mut response = Response::new(Answered::whole(body, Busy::begin(deadline), share));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let value = hyper::header::HeaderValue::from_static;
    headers.insert(CONTENT_TYPE, value(kind));
    headers.insert(CACHE_CONTROL, value("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, value("Bearer"));
    }
    response
}
