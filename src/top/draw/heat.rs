//! The chosen row: a heatmap for each direction, with what was lost and when it had bursts.

use std::fmt::Write as _;

use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::proto::FlowKind;
use crate::top::draw::Scene;
use crate::top::draw::brush::Brush;
use crate::top::happened::Happened;
use crate::top::model::{Back, Chosen, Column};
use crate::top::text::delay;
use crate::top::told::{Bin, Figure};
use crate::top::view::name_of;

/// Cells of the scale at the left.
const SCALE_WIDTH: u16 = 7;

/// Cells that a panel's heading needs with all its figures.
const HEADING_WIDTH: u16 = 46;

/// From this width on, round trips have a heatmap beside the directions.
const THREE_FROM: u16 = 120;

/// From which share of an interval's delays on a cell is drawn so.
const SHADES: [(u64, u64, char); 4] = [(3, 10, '█'), (1, 10, '▓'), (1, 50, '▒'), (0, 1, '░')];

/// A heatmap: which delays, and whose losses and events.
#[derive(Clone, Copy)]
struct Panel {
    /// Its place in [`HEATS`](crate::top::told::HEATS).
    heat: usize,
    title: &'static str,
    /// The direction of its events; `None`: all of them.
    direction: Option<&'static str>,
    figures: [Figure; 3],
}

const ROUND_TRIP: Panel = Panel {
    heat: 0,
    title: "round trip",
    direction: None,
    figures: [Figure::RttP50, Figure::RttP99, Figure::RttMax],
};
const FORWARD: Panel = Panel {
    heat: 1,
    title: "> forward",
    direction: Some("forward"),
    figures: [Figure::ForwardP50, Figure::ForwardP99, Figure::ForwardMax],
};
const REVERSE: Panel = Panel {
    heat: 2,
    title: "< reverse",
    direction: Some("reverse"),
    figures: [Figure::ReverseP50, Figure::ReverseP99, Figure::ReverseMax],
};

impl Panel {
    fn lost(self, column: &Column) -> i64 {
        match self.direction {
            Some("forward") => column.lost_forward,
            Some(_) => column.lost_reverse,
            None => column.lost,
        }
    }

    fn style(self, brush: &Brush<'_>) -> Style {
        match self.direction {
            Some("forward") => brush.palette.forward(),
            Some(_) => brush.palette.reverse(),
            None => brush.palette.plain(),
        }
    }
}

/// Draws the chosen row into an area, side by side.
pub(super) fn draw(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let Some(chosen) = &scene.model.chosen else {
        return;
    };
    title(scene, brush, area, chosen);
    let area = Rect {
        y: area.y + 1,
        height: area.height - 1,
        ..area
    };
    let has_directions = chosen.columns.iter().any(|column| {
        let [_, forward, reverse] = &column.heats;
        !forward.is_empty() || !reverse.is_empty()
    });
    let panels: &[Panel] = match chosen.key.flow {
        FlowKind::Connect => &[ROUND_TRIP],
        _ if !has_directions => &[ROUND_TRIP],
        _ if area.width < THREE_FROM => &[FORWARD, REVERSE],
        _ => &[FORWARD, REVERSE, ROUND_TRIP],
    };
    let count = u16::try_from(panels.len()).unwrap_or(1);
    let width = area.width / count;
    for (place, panel) in (0..).zip(panels) {
        let area = Rect {
            x: area.x + place * width,
            width: width - 1,
            ..area
        };
        draw_panel(scene, brush, area, chosen, *panel);
    }
}

fn title(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect, chosen: &Chosen) {
    let model = scene.model;
    let mut text = format!(
        " {} {}",
        name_of(model, chosen.key),
        chosen.key.flow.as_str()
    );
    if chosen.back != Back::Live {
        let _ = write!(text, "  {}", chosen.back.word());
    }
    let row = model.rows.get(&chosen.key);
    if let Some(stamp) = row.and_then(|row| row.stamp.as_deref()) {
        let _ = write!(text, "  stamps {stamp}");
    }
    let pair = model.pairs.get(&chosen.key.pair);
    if let Some(clock) = pair.and_then(|pair| pair.clock)
        && let Some(offset_ns) = clock.offset_ns
    {
        let error = clock.error_ns.map_or_else(|| "?".to_owned(), delay);
        let _ = write!(text, "  its clock {} ±{error}", delay(offset_ns));
    }
    let counted = [
        (Figure::Late, "late"),
        (Figure::Duplicate, "duplicate"),
        (Figure::Reordered, "reordered"),
        (Figure::Corrupt, "corrupt"),
        (Figure::Unsent, "unsent"),
    ];
    for (figure, word) in counted {
        let count = row.and_then(|row| row.get(figure)).unwrap_or(0);
        if count > 0 {
            let _ = write!(text, "  {count} {word}");
        }
    }
    brush.bar(area.y, brush.palette.bar());
    brush.text(area.x, area.y, area.width, &text, brush.palette.bar());
}

/// The bins that are shown, and how many of them a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    least: usize,
    bins_a_line: usize,
}

impl Range {
    /// Finds one that has all bins of these columns in so many lines.
    fn of<'a>(bins: impl Iterator<Item = &'a Bin> + Clone, lines: usize) -> Self {
        let least = bins.clone().map(|bin| bin.place).min().unwrap_or(0);
        let most = bins.map(|bin| bin.place).max().unwrap_or(0);
        let bins_a_line = (most - least + 1).div_ceil(lines.max(1));
        // With room to spare, the lowest bin is not at the very bottom: it looks like nothing there.
        Self { least, bins_a_line }
    }

    fn line(self, bin: usize) -> usize {
        bin.saturating_sub(self.least) / self.bins_a_line.max(1)
    }
}

fn draw_panel(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect, chosen: &Chosen, panel: Panel) {
    if area.height < 3 || area.width <= SCALE_WIDTH {
        return;
    }
    let model = scene.model;
    let style = panel.style(brush);
    let mut heading = panel.title.to_owned();
    if let Some(row) = model.rows.get(&chosen.key) {
        let figure = |figure| row.get(figure).map_or_else(|| "-".to_owned(), delay);
        let [p50, p99, max] = panel.figures.map(figure);
        // Where there is no room for three, the two that show trouble.
        if area.width >= HEADING_WIDTH {
            let _ = write!(heading, "  p50 {p50}");
        }
        let _ = write!(heading, "  p99 {p99}  max {max}");
    }
    brush.text(area.x + 1, area.y, area.width, &heading, style);
    let map = Rect {
        x: area.x + SCALE_WIDTH,
        y: area.y + 1,
        width: area.width - SCALE_WIDTH,
        height: area.height - 2,
    };
    let shown = usize::from(map.width);
    let skipped = chosen.columns.len().saturating_sub(shown);
    let columns: Vec<&Column> = chosen.columns.iter().skip(skipped).collect();
    let lines = usize::from(map.height);
    let bins = columns.iter().flat_map(|column| &column.heats[panel.heat]);
    let range = Range::of(bins, lines);
    // The newest interval is at the right side.
    let left = map.right() - u16::try_from(columns.len()).unwrap_or(0);
    for (x, column) in (left..).zip(&columns) {
        let sums = sums(&column.heats[panel.heat], range, lines);
        let all: u64 = sums.iter().fold(0, |all, sum| all.saturating_add(*sum));
        for (line, sum) in sums.iter().enumerate() {
            if let Some(shade) = shade(*sum, all) {
                let y = map.bottom() - 1 - u16::try_from(line).unwrap_or(0);
                brush.text(x, y, 1, &shade.to_string(), style);
            }
        }
    }
    scale(scene, brush, map, range);
    marks(scene, brush, map, chosen, panel, &columns);
}

/// Adds up the bins of each line, from the bottom.
fn sums(bins: &[Bin], range: Range, lines: usize) -> Vec<u64> {
    let mut sums = vec![0_u64; lines];
    for bin in bins {
        if let Some(sum) = sums.get_mut(range.line(bin.place)) {
            *sum = sum.saturating_add(bin.count);
        }
    }
    sums
}

fn shade(sum: u64, all: u64) -> Option<char> {
    let is_over = |part: u64, whole: u64| {
        u128::from(sum) * u128::from(whole) >= u128::from(all) * u128::from(part)
    };
    let mut shades = SHADES.iter().filter(|_| sum > 0);
    shades
        .find(|shade| is_over(shade.0, shade.1))
        .map(|shade| shade.2)
}

/// Writes the least delay of the lines at the left: all, or of each second one where there are many.
fn scale(scene: &Scene<'_>, brush: &mut Brush<'_>, map: Rect, range: Range) {
    for line in 0..map.height {
        if line % 2 == 1 && line + 1 != map.height {
            continue;
        }
        let bin = range.least + usize::from(line) * range.bins_a_line;
        let Some(edge) = scene.model.edges_ns.get(bin) else {
            break;
        };
        let text = delay(i64::try_from(*edge).unwrap_or(i64::MAX));
        let y = map.bottom() - 1 - line;
        let quiet = brush.palette.quiet();
        brush.right(map.x - SCALE_WIDTH, y, SCALE_WIDTH - 1, &text, quiet);
    }
}

/// Marks below their intervals what was lost (`×`) and where events are (`▲`).
fn marks(
    scene: &Scene<'_>,
    brush: &mut Brush<'_>,
    map: Rect,
    chosen: &Chosen,
    panel: Panel,
    columns: &[&Column],
) {
    let y = map.bottom();
    let events: Vec<&Happened> = scene
        .model
        .events_of(chosen.key)
        .filter(|event| event.is_trouble())
        .filter(|event| {
            panel.direction.is_none()
                || event.direction.is_none()
                || event.direction.as_deref() == panel.direction
        })
        .collect();
    let left = map.right() - u16::try_from(columns.len()).unwrap_or(0);
    if columns.len() > 8 {
        let seconds = i128::from(scene.model.interval_ns) * columns.len() as i128 / 1_000_000_000;
        let text = format!("{seconds} s ago");
        brush.text(left, y, map.width, &text, brush.palette.quiet());
    }
    for (x, column) in (left..).zip(columns) {
        let begin = column.end_ns.saturating_sub(scene.model.interval_ns);
        let has_event = events.iter().any(|event| {
            event.at_ns < column.end_ns && event.at_ns.saturating_add(event.duration_ns) >= begin
        });
        let mark = match (panel.lost(column) > 0, has_event) {
            (true, _) => "×",
            (false, true) => "▲",
            (false, false) => continue,
        };
        brush.text(x, y, 1, mark, brush.palette.trouble());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bin_has_a_line() {
        let bins: Vec<Bin> = [10, 17, 30].map(|place| Bin { place, count: 1 }).into();
        for lines in 1..30 {
            let range = Range::of(bins.iter(), lines);
            let sums = sums(&bins, range, lines);
            assert_eq!(sums.iter().sum::<u64>(), 3, "{lines}");
        }
        let none = Range::of([].iter(), 5);
        assert_eq!(none.line(0), 0);
    }

    #[test]
    fn a_single_delay_among_many_is_seen() {
        assert_eq!(shade(1, 1_000_000), Some('░'));
        assert_eq!(shade(0, 10), None);
        assert_eq!(shade(5, 5), Some('█'));
        assert_eq!(shade(u64::MAX, u64::MAX), Some('█'));
    }
}
