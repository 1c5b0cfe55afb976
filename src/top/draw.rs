//! Draws what is known: a scene in, cells out. It reads no clock and no terminal.

mod brush;
mod heat;
mod host;
mod lines;
mod table;

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

pub(super) use brush::Palette;

use crate::top::draw::brush::Brush;
use crate::top::model::{Link, Model};
use crate::top::text::time_of_day;
use crate::top::view::{Screen, View};

/// Below this there is no room for a row.
const LEAST: (u16, u16) = (60, 10);

/// From this height on, the list has heatmaps and events below it.
const DETAIL_FROM: u16 = 20;

/// Everything that a drawing is made of.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) model: &'a Model,
    pub(super) view: &'a View,
    pub(super) palette: Palette,
    /// Which daemon is looked at.
    pub(super) place: &'a str,
    /// For how many seconds nothing has come, if that is too long.
    pub(super) silent_s: Option<u64>,
}

/// Draws a scene, and returns how many rows of the list it had room for.
pub(super) fn draw(scene: &Scene<'_>, buffer: &mut Buffer) -> usize {
    let area = buffer.area;
    let mut brush = Brush::new(buffer, scene.palette);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {} x {} at least", LEAST.0, LEAST.1);
        brush.text(area.x, area.y, area.width, &text, scene.palette.alarm());
        return 0;
    }
    header(scene, &mut brush, area);
    footer(scene, &mut brush, area);
    let body = Rect {
        y: area.y + 1,
        height: area.height - 3,
        ..area
    };
    match scene.view.screen {
        Screen::List => list(scene, &mut brush, body),
        Screen::Detail => {
            heat::draw(scene, &mut brush, body);
            0
        }
        Screen::Events => {
            lines::events(scene, &mut brush, body);
            usize::from(body.height)
        }
        Screen::Host => {
            host::draw(scene, &mut brush, body);
            usize::from(body.height)
        }
        Screen::Help => {
            lines::help(&mut brush, body);
            0
        }
    }
}

fn list(scene: &Scene<'_>, brush: &mut Brush<'_>, body: Rect) -> usize {
    if body.height + 3 < DETAIL_FROM {
        return table::draw(scene, brush, body);
    }
    let more = body.height + 3 - DETAIL_FROM;
    let events = Rect {
        height: 4 + more / 5,
        y: body.bottom() - (4 + more / 5),
        ..body
    };
    let detail = 7 + more / 4;
    let detail = Rect {
        height: detail,
        y: events.y - detail,
        ..body
    };
    let table = Rect {
        height: detail.y - body.y,
        ..body
    };
    heat::draw(scene, brush, detail);
    lines::events(scene, brush, events);
    table::draw(scene, brush, table)
}

fn header(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let Scene { model, view, .. } = scene;
    let mut text = format!(" {}  {}", model.source, scene.place);
    if let Some(end_ns) = model.end_ns {
        let (whole, part) = (
            model.interval_ns / 1_000_000_000,
            model.interval_ns % 1_000_000_000,
        );
        let part = if part > 0 {
            format!(".{}", part / 100_000_000)
        } else {
            String::new()
        };
        let _ = write!(
            text,
            "  {} UTC  every {whole}{part} s",
            time_of_day(end_ns, 0)
        );
    }
    if !view.filter.is_empty() {
        let _ = write!(text, "  {} of {}", view.rows(model).len(), model.rows.len());
    } else if !model.rows.is_empty() {
        let _ = write!(text, "  {} rows", model.rows.len());
    }
    let style = scene.palette.bar();
    brush.bar(area.y, style);
    brush.text(area.x, area.y, area.width, &text, style);
    if view.is_paused {
        let word = " PAUSED ";
        let x = area.right().saturating_sub(8);
        brush.text(x, area.y, 8, word, scene.palette.alarm());
    }
}

/// The last two lines: this host's health or what is wrong with the daemon, and the keys.
fn footer(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let Scene {
        model,
        view,
        palette,
        ..
    } = scene;
    let y = area.bottom() - 2;
    let alarm = match (&model.link, scene.silent_s) {
        (Link::Connecting, _) => Some(format!(" connecting to {}", scene.place)),
        (Link::Lost(why), _) if model.end_ns.is_some() => {
            Some(format!(" LOST, trying again; the figures are old: {why}"))
        }
        (Link::Lost(why), _) => Some(format!(" cannot connect, trying again: {why}")),
        (Link::Live, Some(seconds)) => Some(format!(" no figures for {seconds} s")),
        (Link::Live, None) => None,
    };
    match alarm {
        Some(text) => {
            brush.bar(y, palette.alarm());
            brush.text(area.x, y, area.width, &text, palette.alarm());
        }
        None => host::line(
            scene,
            brush,
            Rect {
                y,
                height: 1,
                ..area
            },
        ),
    }
    let y = y + 1;
    let text = if view.is_typing {
        format!(" filter: {}_   Enter keeps it, Esc clears it", view.filter)
    } else {
        let filter = match view.filter.as_str() {
            "" => "/ filter".to_owned(),
            filter => format!("/ filter:{filter}"),
        };
        let order = if view.is_reversed { ", reversed" } else { "" };
        let sort = format!("s sort:{}{order}", view.sort.word());
        format!(" q quit  ? help  {filter}  {sort}  p pause  Enter detail  e events  i host")
    };
    brush.text(area.x, y, area.width, &text, palette.quiet());
}
