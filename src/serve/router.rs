//! What is answered to which path.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{self, Instant};

use crate::limits::{HTTP_LARGE_ANSWERS_MAX, HTTP_LISTENERS_MAX};
use crate::publish::{Exposition, Format};
use crate::serve::access::{Access, Denied, Peer};
use crate::serve::body::Answered;
use crate::serve::busy::Busy;
use crate::serve::events::Events;
use crate::serve::{Answer, Asked, targets};

/// The poll thread turns four times a second at least. One that has not for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// How long the poll thread, or a reload, may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What there is to ask for.
const INDEX: &str = "\
latency-monitor

GET  /metrics         the metrics, for Prometheus: as text, OpenMetrics or protobuf, by Accept
GET  /healthz         whether the poll thread turns
GET  /readyz          whether it listens, and how the last try of each backend ended
GET  /api/v1/targets  each flow: its 5-tuple, wire, clock, counters, last windows
GET  /api/v1/events   events as they happen (server-sent)
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
        if let Err(denied) = self.access.may_read(peer, &head.headers) {
            return Ok(respond(deny(denied), method, deadline));
        }
        let is_get = [Method::GET, Method::HEAD].contains(method);
        let reply = match path {
            "/-/reload" if *method == Method::POST => self.reload(peer, &head.headers).await,
            "/-/reload" => not_allowed(),
            _ if !is_get => not_allowed(),
            "/" => Reply::text(StatusCode::OK, INDEX),
            "/metrics" => self.metrics(&head.headers),
            "/healthz" => self.health(),
            "/readyz" => self.readiness(),
            "/api/v1/targets" => self.targets().await,
            "/api/v1/events" => {
                let share = Arc::clone(&self.listeners).try_acquire_owned();
                match share {
                    Ok(share) => return Ok(self.listen(share)),
                    Err(_) => Reply::busy(),
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

    fn metrics(&self, headers: &HeaderMap) -> Reply {
        let Some(share) = self.share() else {
            return Reply::busy();
        };
        let accept = headers.get_all(ACCEPT).iter();
        let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
        let format = Format::accepted(&accept.join(","));
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
        let Some(flows) = ask(|answer| self.asked.view(answer)).await else {
            let text = "the poll thread does not answer\n";
            return Reply::text(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        Reply {
            status: StatusCode::OK,
            kind: JSON,
            body: targets::json(&flows, &self.exposition).into(),
            share: Some(share),
        }
    }

    fn listen(&self, share: OwnedSemaphorePermit) -> Response<Answered> {
        let mut response = Response::new(Answered::events(self.events.listen(), share));
        let headers = response.headers_mut();
        let value = hyper::header::HeaderValue::from_static;
        headers.insert(CONTENT_TYPE, value("text/event-stream"));
        headers.insert(CACHE_CONTROL, value("no-store"));
        response
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
