//! What is looked at, and in which order: what keys change.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::limits::TOP_FILTER_CHARS_MAX;
use crate::proto::FlowKind;
use crate::top::model::{Back, Key, Model, Row};
use crate::top::told::Figure;

/// The time that losses are added up over.
pub(super) const LOSS_SPAN_NS: i64 = 60_000_000_000;

/// What fills the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Screen {
    /// All rows, the chosen one's heatmaps, the last events.
    #[default]
    List,
    /// The chosen row alone.
    Detail,
    /// All events.
    Events,
    /// This host, its backends, the clocks of peers.
    Host,
    Help,
}

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    Loss,
    Rtt,
    Forward,
    Reverse,
}

impl Sort {
    /// Each order with its word, in the order that a key goes through.
    pub(super) const ALL: [(Self, &str); 5] = [
        (Self::Name, "name"),
        (Self::Loss, "loss"),
        (Self::Rtt, "rtt p99"),
        (Self::Forward, "forward p99"),
        (Self::Reverse, "reverse p99"),
    ];

    pub(super) fn word(self) -> &'static str {
        let all = Self::ALL.iter();
        all.into_iter()
            .find(|one| one.0 == self)
            .map_or("", |one| one.1)
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|one| one.0 == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }
}

/// What a key asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Figures stand still from now on, or go on.
    Pause,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// True while a filter is typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// How far back the chosen row is shown.
    pub(super) back: Back,
    pub(super) selected: Option<Key>,
    /// Lines that were scrolled past, of events or of the host.
    pub(super) scrolled: usize,
    /// Rows of the terminal, for keys that go a page.
    pub(super) page: usize,
}

/// A row's name: the target's, or both ends' where this host is not the source.
pub(super) fn name_of(model: &Model, key: Key) -> String {
    let Some(pair) = model.pairs.get(&key.pair) else {
        return format!("pair {}", key.pair);
    };
    if pair.source == model.source {
        pair.target.clone()
    } else {
        format!("{} → {}", pair.source, pair.target)
    }
}

/// Whose a row is, in words that a restart of the daemon does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    source: String,
    target: String,
    tags: String,
    flow: FlowKind,
}

impl Name {
    pub(super) fn of(model: &Model, key: Key) -> Option<Self> {
        let pair = model.pairs.get(&key.pair)?;
        Some(Self {
            source: pair.source.clone(),
            target: pair.target.clone(),
            tags: pair.tags.clone(),
            flow: key.flow,
        })
    }
}

impl View {
    /// Selects the row of this name, if it is there.
    pub(super) fn choose_named(&mut self, model: &Model, name: Option<&Name>) {
        let mut rows = model.rows.keys();
        let found = rows.find(|key| name.is_some() && Name::of(model, **key).as_ref() == name);
        self.selected = found.copied();
    }

    /// Returns the rows that are shown, in their order.
    pub(super) fn rows(&self, model: &Model) -> Vec<Key> {
        let mut rows: Vec<Ordered> = model
            .rows
            .iter()
            .map(|(key, row)| Ordered {
                worst: self.worst(row),
                name: name_of(model, *key),
                key: *key,
            })
            .filter(|row| self.is_shown(model, row))
            .collect();
        rows.sort_by(|one, other| {
            let by_figure = other.worst.total_cmp(&one.worst);
            let by_name = || one.name.cmp(&other.name).then(one.key.cmp(&other.key));
            let order = by_figure.then_with(by_name);
            if self.is_reversed {
                order.reverse()
            } else {
                order
            }
        });
        rows.into_iter().map(|row| row.key).collect()
    }

    /// Returns the figure by which a row is ordered, the greatest first.
    #[expect(clippy::cast_precision_loss, reason = "only the order matters")]
    fn worst(&self, row: &Row) -> f64 {
        let figure = |figure| row.get(figure).map_or(-1.0, |ns| ns as f64);
        match self.sort {
            Sort::Name => 0.0,
            Sort::Loss => {
                let counts = row.counts(LOSS_SPAN_NS);
                counts.missing() as f64 / (counts.due().max(1)) as f64
            }
            Sort::Rtt => figure(Figure::RttP99),
            Sort::Forward => figure(Figure::ForwardP99),
            Sort::Reverse => figure(Figure::ReverseP99),
        }
    }

    fn is_shown(&self, model: &Model, row: &Ordered) -> bool {
        if self.filter.is_empty() {
            return true;
        }
        let tags = model.pairs.get(&row.key.pair).map_or("", |pair| &pair.tags);
        let text = format!("{} {} {tags}", row.name, row.key.flow.as_str()).to_lowercase();
        text.contains(&self.filter.to_lowercase())
    }

    /// Keeps the selected row if it is shown, and else selects the first one.
    pub(super) fn settle(&mut self, model: &Model) {
        if !model.has_history {
            self.back = Back::Live;
        }
        let rows = self.rows(model);
        if self.selected.is_none_or(|key| !rows.contains(&key)) {
            self.selected = rows.first().copied();
        }
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: KeyEvent, model: &Model) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Wish::Quit,
            _ if is_control => return Wish::Nothing,
            code if self.is_typing => {
                self.type_filter(code);
                return Wish::Nothing;
            }
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('p' | ' ') => return Wish::Pause,
            KeyCode::Char('?' | 'h') => self.show(Screen::Help),
            KeyCode::Char('e') => self.show(Screen::Events),
            KeyCode::Char('i') => self.show(Screen::Host),
            KeyCode::Enter => self.show(Screen::Detail),
            KeyCode::Char('/') => {
                self.screen = Screen::List;
                self.is_typing = true;
            }
            KeyCode::Esc | KeyCode::Backspace if self.screen != Screen::List => {
                self.show(Screen::List);
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('t') if model.has_history => self.back = self.back.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Up | KeyCode::Char('k') => self.go(model, Way::Back(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(model, Way::On(1)),
            KeyCode::PageUp => self.go(model, Way::Back(self.page.max(1))),
            KeyCode::PageDown => self.go(model, Way::On(self.page.max(1))),
            KeyCode::Home | KeyCode::Char('g') => self.go(model, Way::Back(usize::MAX)),
            KeyCode::End | KeyCode::Char('G') => self.go(model, Way::On(usize::MAX)),
            _ => {}
        }
        Wish::Nothing
    }

    /// Shows a screen; the list, if that screen is there already.
    fn show(&mut self, screen: Screen) {
        self.screen = if self.screen == screen {
            Screen::List
        } else {
            screen
        };
        self.scrolled = 0;
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(character)
                if !character.is_control()
                    && self.filter.chars().count() < TOP_FILTER_CHARS_MAX =>
            {
                self.filter.push(character);
            }
            _ => {}
        }
    }

    fn go(&mut self, model: &Model, way: Way) {
        let moved = |at: usize| match way {
            Way::Back(lines) => at.saturating_sub(lines),
            Way::On(lines) => at.saturating_add(lines),
        };
        match self.screen {
            Screen::Events | Screen::Host => {
                let most = match self.screen {
                    Screen::Events => model.events.len(),
                    _ => model.host.len() + model.backends.len() + model.pairs.len(),
                };
                self.scrolled = moved(self.scrolled).min(most.saturating_sub(1));
            }
            Screen::List | Screen::Detail | Screen::Help => {
                let rows = self.rows(model);
                let at = rows.iter().position(|key| Some(*key) == self.selected);
                let at = at.map_or(0, moved).min(rows.len().saturating_sub(1));
                self.selected = rows.get(at).copied();
            }
        }
    }
}

/// Up or down, and how far.
#[derive(Clone, Copy)]
enum Way {
    Back(usize),
    On(usize),
}

/// A row with what it is ordered by.
struct Ordered {
    worst: f64,
    name: String,
    key: Key,
}
