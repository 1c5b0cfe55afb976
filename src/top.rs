//! `latency-monitor top` shows a running daemon in a terminal, as it tells its figures over HTTP.
//!
//! One thread draws; it gets everything from others that wait (`work`): for figures, for answers about the past, for
//! keys and for signals. What is known (`Model`), what is looked at (`View`) and how that is drawn (`draw`) know
//! nothing of threads, terminals or time. This room knows what a daemon answers, and nothing of how it measures.

mod draw;
mod frames;
mod happened;
mod model;
#[cfg(test)]
mod tests;
mod text;
mod told;
mod view;
mod work;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::Event;

use crate::clock::Clock;
use crate::limits::TOP_MESSAGES_MAX;
use crate::proto::time::Mono;
use crate::remote::{Daemon, Reached, RemoteError};
use crate::top::draw::{Palette, Scene};
use crate::top::model::{Back, Chosen, Link, Model, Unread};
use crate::top::view::{View, Wish};
use crate::top::work::{Ask, Message};

/// The least time between two drawings that figures have asked for, and that keys have asked for. A terminal over a
/// slow link gets no more than it can show.
const DRAW_EVERY: Duration = Duration::from_millis(250);
const DRAW_AFTER_KEY: Duration = Duration::from_millis(40);

/// Nanoseconds after which what is on the disk is asked for again.
const KEPT_AGAIN_NS: u64 = 60_000_000_000;

/// How often silence is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The arguments of `latency-monitor top`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Request {
    /// Which daemon.
    #[command(flatten)]
    pub reached: Reached,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopError {
    /// The daemon cannot be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// There is nothing to draw on.
    #[error(
        "the standard input and output must be a terminal: for figures as text, ask the daemon (docs/http.md)"
    )]
    NoTerminal,
    /// A part of the program has ended.
    #[error("{0} has failed; this is a bug")]
    Broken(String),
    /// The terminal does not do what is asked of it.
    #[error("cannot use the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl Request {
    /// Shows the daemon until the user, or a signal, ends it.
    pub fn run(&self) -> Result<(), TopError> {
        let daemon = self.reached.daemon()?;
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(TopError::NoTerminal);
        }
        // https://no-color.org: any value but an empty one.
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut top = Top::start(&daemon, Palette::new(has_colours))?;
        with_terminal(|terminal| top.run(terminal))?
    }
}

/// Takes the whole terminal, and gives it back: at the end, and at a panic, before it is told.
fn with_terminal<T>(work: impl FnOnce(&mut DefaultTerminal) -> T) -> io::Result<T> {
    // This hooks into the telling of panics.
    let mut terminal = ratatui::try_init()?;
    let ended = work(&mut terminal);
    ratatui::restore();
    Ok(ended)
}

/// The drawing thread.
struct Top {
    place: String,
    palette: Palette,
    model: Model,
    /// What is drawn while figures stand still.
    paused: Option<Box<Model>>,
    view: View,
    /// Which snapshot the model began with.
    session: u64,
    told: Receiver<Message>,
    asks: Sender<Ask>,
    /// Its end lets the thread that reaches for the daemon end.
    _ends: Sender<()>,
    clock: Clock,
    heard: Mono,
    drawn: Mono,
    /// When a row's past was asked for last.
    asked: Mono,
    /// For how many seconds nothing had come when that was drawn.
    silent_s: Option<u64>,
}

/// Whether there is something new to draw, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Nothing,
    Figures,
    Keys,
}

impl Top {
    fn start(daemon: &Daemon, palette: Palette) -> io::Result<Self> {
        let (teller, told) = mpsc::sync_channel(TOP_MESSAGES_MAX);
        let (asks, asked) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let place = daemon.to_string();
        let daemon = Arc::new(daemon.clone());
        let other = Arc::clone(&daemon);
        work::watch_signals(&teller)?;
        work::start("lm-top-live", &teller, move |told| {
            work::follow(&daemon, told, &ended);
        })?;
        work::start("lm-top-past", &teller, move |told| {
            work::remember(&other, told, &asked);
        })?;
        work::start("lm-top-keys", &teller, work::read_keys)?;
        let clock = Clock::new();
        Ok(Self {
            place,
            palette,
            model: Model::default(),
            paused: None,
            view: View::default(),
            session: 0,
            told,
            asks,
            _ends: ends,
            heard: clock.mono(),
            drawn: Mono::ZERO,
            asked: Mono::ZERO,
            silent_s: None,
            clock,
        })
    }

    fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<(), TopError> {
        let mut news = News::Keys;
        loop {
            let now = self.clock.mono_for_sure();
            let silent_s = self.silence(now);
            if silent_s != self.silent_s {
                self.silent_s = silent_s;
                news = news.max(News::Figures);
            }
            let wait = match news {
                News::Nothing => LOOK_EVERY,
                News::Figures => rest(DRAW_EVERY, now.since(self.drawn)),
                News::Keys => rest(DRAW_AFTER_KEY, now.since(self.drawn)),
            };
            if wait.is_zero() {
                self.draw(terminal)?;
                self.drawn = now;
                news = News::Nothing;
                continue;
            }
            match self.told.recv_timeout(wait) {
                Ok(Message::End) => return Ok(()),
                Ok(Message::Broken(what)) => return Err(TopError::Broken(what)),
                Ok(Message::Input(input)) => {
                    if self.input(&input) == Wish::Quit {
                        return Ok(());
                    }
                    news = News::Keys;
                }
                Ok(Message::Frame(frame)) => {
                    self.heard = now;
                    self.take(|top| top.frame(&frame));
                    news = news.max(News::Figures);
                }
                Ok(Message::Past { ask, json }) => {
                    self.take(|top| top.past(ask, &json));
                    news = news.max(News::Figures);
                }
                Ok(Message::Lost(why)) => {
                    self.model.link = Link::Lost(text::plain(&why));
                    news = news.max(News::Figures);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TopError::Broken("every thread".to_owned()));
                }
            }
        }
    }

    /// Does something with what the daemon has told, and shows it if that is no use.
    fn take(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Unread>) {
        if let Err(error) = work(self) {
            let text = format!("it tells what this version does not understand: {error}");
            self.model.link = Link::Lost(text::plain(&text));
        }
    }

    fn frame(&mut self, frame: &frames::Frame) -> Result<(), Unread> {
        match frame.kind.as_str() {
            "snapshot" => {
                let before = self.chosen_name();
                self.model.begin(&frame.data)?;
                self.session += 1;
                self.view.choose_named(&self.model, before.as_ref());
                self.ask(None);
            }
            "update" => self.model.update(&frame.data)?,
            "event" => self.model.event(&frame.data)?,
            _ => return Ok(()),
        }
        self.settle();
        Ok(())
    }

    fn past(&mut self, ask: Ask, json: &[u8]) -> Result<(), Unread> {
        if ask.session != self.session {
            return Ok(());
        }
        let models = [Some(&mut self.model), self.paused.as_deref_mut()];
        for model in models.into_iter().flatten() {
            match ask.key {
                Some(key) => model.add_past_of(key, ask.back, json)?,
                None => model.add_past(json)?,
            }
        }
        Ok(())
    }

    fn input(&mut self, input: &Event) -> Wish {
        let Event::Key(key) = input else {
            return Wish::Nothing;
        };
        let model = self.paused.as_deref().unwrap_or(&self.model);
        let wish = self.view.press(*key, model);
        if wish == Wish::Pause {
            self.paused = match self.paused {
                Some(_) => None,
                None => Some(Box::new(self.model.clone())),
            };
            self.view.is_paused = self.paused.is_some();
        }
        self.settle();
        wish
    }

    /// Looks more closely at the row that is selected now.
    fn settle(&mut self) {
        let model = self.paused.as_deref().unwrap_or(&self.model);
        self.view.settle(model);
        let Some(key) = self.view.selected else {
            return;
        };
        let mut is_new = false;
        let models = [Some(&mut self.model), self.paused.as_deref_mut()];
        for model in models.into_iter().flatten() {
            let is_it = |chosen: &Chosen| chosen.key == key && chosen.back == self.view.back;
            if !model.chosen.as_ref().is_some_and(is_it) {
                model.choose(key, self.view.back);
                is_new = true;
            }
        }
        // What is on the disk becomes more, too.
        let now = self.clock.mono_for_sure();
        let is_old = self.view.back != Back::Live && now.since(self.asked) > KEPT_AGAIN_NS;
        if is_new || is_old {
            self.asked = now;
            self.ask(Some(key));
        }
    }

    fn ask(&self, key: Option<model::Key>) {
        let session = self.session;
        // Its end is told as a message.
        let back = self.view.back;
        let _ = self.asks.send(Ask { session, key, back });
    }

    /// Numbers of pairs are others after a daemon's restart; names are not.
    fn chosen_name(&self) -> Option<view::Name> {
        self.view
            .selected
            .and_then(|key| view::Name::of(&self.model, key))
    }

    /// Returns for how many seconds nothing has come, if that is too long.
    fn silence(&self, now: Mono) -> Option<u64> {
        if self.model.link != Link::Live {
            return None;
        }
        let silent_ns = now.since(self.heard);
        let interval_ns = self.model.interval_ns.unsigned_abs();
        let is_long = silent_ns > interval_ns.saturating_mul(3).max(5_000_000_000);
        is_long.then_some(silent_ns / 1_000_000_000)
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        // How it stands with the daemon does not stand still.
        if let Some(paused) = &mut self.paused {
            paused.link = self.model.link.clone();
        }
        let scene = Scene {
            model: self.paused.as_deref().unwrap_or(&self.model),
            view: &self.view,
            palette: self.palette,
            place: &self.place,
            silent_s: self.silent_s,
        };
        let mut page = 0;
        terminal.draw(|frame| page = draw::draw(&scene, frame.buffer_mut()))?;
        self.view.page = page;
        Ok(())
    }
}

/// Returns what is left of a time of which so much has passed.
fn rest(of: Duration, passed_ns: u64) -> Duration {
    of.saturating_sub(Duration::from_nanos(passed_ns))
}
