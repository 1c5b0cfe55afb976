//! The list of rows: losses and percentiles by direction, and a sparkline.

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::top::draw::Scene;
use crate::top::draw::brush::{Brush, columns};
use crate::top::model::{Counts, Key, Row, Tick};
use crate::top::text::{delay, percent};
use crate::top::told::Figure;
use crate::top::view::{LOSS_SPAN_NS, name_of};

/// Levels of a sparkline.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Cells of a delay and of a share.
const DELAY_WIDTH: u16 = 6;
const SHARE_WIDTH: u16 = 5;
const FLOW_WIDTH: u16 = 7;

/// A column of figures.
#[derive(Clone, Copy)]
enum Cell {
    Loss,
    LossForward,
    LossReverse,
    Delay(Figure),
}

/// A column: its heading, what it shows, and how wide the terminal must be.
struct Column {
    heading: &'static str,
    cell: Cell,
    from_width: u16,
}

const fn column(heading: &'static str, cell: Cell, from_width: u16) -> Column {
    Column {
        heading,
        cell,
        from_width,
    }
}

const COLUMNS: [Column; 14] = [
    column("loss%", Cell::Loss, 0),
    column(">lost", Cell::LossForward, 0),
    column("<lost", Cell::LossReverse, 0),
    column("rtt50", Cell::Delay(Figure::RttP50), 0),
    column("rtt99", Cell::Delay(Figure::RttP99), 0),
    column("rttmax", Cell::Delay(Figure::RttMax), 90),
    column(">p50", Cell::Delay(Figure::ForwardP50), 110),
    column(">p99", Cell::Delay(Figure::ForwardP99), 0),
    column(">max", Cell::Delay(Figure::ForwardMax), 130),
    column("<p50", Cell::Delay(Figure::ReverseP50), 110),
    column("<p99", Cell::Delay(Figure::ReverseP99), 0),
    column("<max", Cell::Delay(Figure::ReverseMax), 130),
    column("owd50", Cell::Delay(Figure::OwdP50), 150),
    column("owd99", Cell::Delay(Figure::OwdP99), 150),
];

impl Cell {
    fn width(self) -> u16 {
        match self {
            Self::Loss | Self::LossForward | Self::LossReverse => SHARE_WIDTH,
            // A one-way delay may have a sign.
            Self::Delay(Figure::OwdP50 | Figure::OwdP99) => DELAY_WIDTH + 1,
            Self::Delay(_) => DELAY_WIDTH,
        }
    }

    fn text(self, row: &Row, counts: Counts) -> String {
        match self {
            Self::Loss => percent(counts.missing(), counts.due()),
            Self::LossForward => percent(counts.lost_forward, counts.due()),
            Self::LossReverse => percent(counts.lost_reverse, counts.due()),
            Self::Delay(figure) => row.get(figure).map_or_else(|| "-".to_owned(), delay),
        }
    }

    fn style(self, brush: &Brush<'_>, counts: Counts) -> Style {
        let palette = brush.palette;
        let is_lost = match self {
            Self::Loss => counts.missing() > 0,
            Self::LossForward => counts.lost_forward > 0,
            Self::LossReverse => counts.lost_reverse > 0,
            Self::Delay(_) => false,
        };
        match self {
            _ if is_lost => palette.trouble(),
            Self::LossForward
            | Self::Delay(Figure::ForwardP50 | Figure::ForwardP99 | Figure::ForwardMax) => {
                palette.forward()
            }
            Self::LossReverse
            | Self::Delay(Figure::ReverseP50 | Figure::ReverseP99 | Figure::ReverseMax) => {
                palette.reverse()
            }
            Self::Loss | Self::Delay(_) => palette.plain(),
        }
    }
}

/// Where the columns are.
struct Places {
    name: u16,
    tags: u16,
    sparkline: u16,
}

/// Draws the rows, and returns how many it had room for.
pub(super) fn draw(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) -> usize {
    let rows = scene.view.rows(scene.model);
    let room = usize::from(area.height.saturating_sub(1));
    let shown = COLUMNS
        .iter()
        .filter(|column| area.width >= column.from_width);
    let shown: Vec<&Column> = shown.collect();
    let figures: u16 = shown.iter().map(|column| column.cell.width() + 1).sum();
    let places = places(
        scene,
        &rows,
        area.width.saturating_sub(figures + FLOW_WIDTH + 2),
    );
    heading(brush, area, &shown, &places);
    let at = rows
        .iter()
        .position(|key| Some(*key) == scene.view.selected);
    // The selected row stays in the middle, but for the ends of the list.
    let first = at.unwrap_or(0).saturating_sub(room / 2);
    let first = first.min(rows.len().saturating_sub(room));
    for (line, key) in rows.iter().skip(first).take(room).enumerate() {
        let y = area.y + 1 + u16::try_from(line).unwrap_or(0);
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        draw_row(scene, brush, line, *key, &shown, &places);
    }
    if rows.is_empty() {
        let text = match scene.view.filter.as_str() {
            _ if scene.model.end_ns.is_none() => {
                "no figures yet: they come at the end of each interval"
            }
            "" => "no pairs of hosts: nothing is probed, and nobody probes this host",
            _ => "no row has this filter in its name, kind of flow or tags",
        };
        brush.text(
            area.x + 1,
            area.y + 1,
            area.width,
            text,
            scene.palette.quiet(),
        );
    }
    room
}

/// Divides what the figures leave between names, tags and sparklines.
fn places(scene: &Scene<'_>, rows: &[Key], free: u16) -> Places {
    let widest = rows
        .iter()
        .map(|key| columns(&name_of(scene.model, *key)))
        .max();
    let widest = u16::try_from(widest.unwrap_or(0)).unwrap_or(u16::MAX);
    let name = widest.clamp(10, (free * 3 / 5).max(10)).min(free);
    let rest = free - name;
    let tags = if rest > 60 { rest / 3 } else { 0 };
    Places {
        name,
        tags,
        sparkline: rest.saturating_sub(tags + 1),
    }
}

fn heading(brush: &mut Brush<'_>, area: Rect, shown: &[&Column], places: &Places) {
    let style = brush.palette.heading();
    brush.text(area.x + 1, area.y, places.name, "target", style);
    let mut x = area.x + 1 + places.name + 1;
    brush.text(x, area.y, FLOW_WIDTH, "flow", style);
    x += FLOW_WIDTH;
    for column in shown {
        let width = column.cell.width() + 1;
        brush.right(x, area.y, width, column.heading, style);
        x += width;
    }
    let heading = if places.sparkline > 9 {
        "rtt99 then"
    } else {
        "rtt99"
    };
    brush.text(x + 1, area.y, places.sparkline, heading, style);
    if places.tags > 0 {
        brush.text(
            x + places.sparkline + 2,
            area.y,
            places.tags - 1,
            "tags",
            style,
        );
    }
}

fn draw_row(
    scene: &Scene<'_>,
    brush: &mut Brush<'_>,
    line: Rect,
    key: Key,
    shown: &[&Column],
    places: &Places,
) {
    let Some(row) = scene.model.rows.get(&key) else {
        return;
    };
    let is_selected = scene.view.selected == Some(key);
    let marked = |style: Style| {
        if is_selected {
            style.add_modifier(Modifier::REVERSED)
        } else {
            style
        }
    };
    let plain = brush.palette.plain();
    if is_selected {
        brush.bar(line.y, marked(plain));
        brush.text(line.x, line.y, 1, ">", marked(plain));
    }
    brush.text(
        line.x + 1,
        line.y,
        places.name,
        &name_of(scene.model, key),
        marked(plain),
    );
    let mut x = line.x + 1 + places.name + 1;
    brush.text(x, line.y, FLOW_WIDTH, key.flow.as_str(), marked(plain));
    x += FLOW_WIDTH;
    let counts = row.counts(LOSS_SPAN_NS);
    for column in shown {
        let width = column.cell.width() + 1;
        let style = marked(column.cell.style(brush, counts));
        brush.right(x, line.y, width, &column.cell.text(row, counts), style);
        x += width;
    }
    let ticks = row
        .ticks
        .iter()
        .skip(row.ticks.len().saturating_sub(places.sparkline.into()));
    let ticks: Vec<&Tick> = ticks.collect();
    brush.text(
        x + 1,
        line.y,
        places.sparkline,
        &sparkline(&ticks),
        marked(plain),
    );
    if places.tags > 0 {
        let tags = scene
            .model
            .pairs
            .get(&key.pair)
            .map_or("", |pair| &pair.tags);
        let quiet = marked(brush.palette.quiet());
        brush.text(
            x + places.sparkline + 2,
            line.y,
            places.tags - 1,
            tags,
            quiet,
        );
    }
}

/// Returns a level for each interval between the least and the greatest of them; `×` for one with losses, and a space
/// for one without a round trip.
fn sparkline(ticks: &[&Tick]) -> String {
    let known = || ticks.iter().filter_map(|tick| tick.rtt_p99_ns);
    let (least, most) = (known().min().unwrap_or(0), known().max().unwrap_or(0));
    let span = i128::from(most) - i128::from(least);
    let level = |ns: i64| {
        let above = i128::from(ns) - i128::from(least);
        // A difference of less than a tenth is no shape, but noise.
        let span = span.max(i128::from(most) / 10).max(1);
        let level = usize::try_from(above * 7 / span).unwrap_or(0);
        LEVELS.get(level).copied().unwrap_or('█')
    };
    let shown = ticks.iter().map(|tick| match tick.rtt_p99_ns {
        _ if tick.counts.missing() > 0 => '×',
        Some(ns) => level(ns),
        None => ' ',
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_has_losses_and_holes() {
        let tick = |rtt_p99_ns, lost| Tick {
            rtt_p99_ns,
            counts: Counts {
                lost,
                ..Counts::default()
            },
            ..Tick::default()
        };
        let ticks = [
            tick(Some(100), 0),
            tick(Some(800), 0),
            tick(None, 0),
            tick(Some(100), 3),
            tick(Some(450), 0),
        ];
        let ticks: Vec<&Tick> = ticks.iter().collect();
        assert_eq!(sparkline(&ticks), "▁█ ×▄");
        assert_eq!(sparkline(&[]), "");
    }
}
