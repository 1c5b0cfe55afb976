//! Events, the newest first, and help.

use std::fmt::Write as _;

use ratatui::layout::Rect;

use crate::top::draw::Scene;
use crate::top::draw::brush::Brush;
use crate::top::happened::Happened;
use crate::top::text::time_of_day;

const HELP: &str = " q, Ctrl-C     quit
 ?, h          this page; Esc goes back from every page
 up, down      choose a row; also j and k, PgUp, PgDn, Home, End
 Enter         the chosen row over the whole terminal
 /             show only rows with these words in name, kind of flow or tags; Esc: all
 s, r          sort by the next figure; in reverse
 p, space      pause: figures stand still, and go on from where the daemon is then
 t             the chosen row's last hour, day, week, if the daemon keeps them; live again
 e             all events
 i             this host: lateness, gaps, drops, backends, clocks of peers

 >  forward: from this host to the target      <  reverse: back
 loss%, >lost, <lost   of the last minute, or since this program looks: all, and by direction
 rtt50, rtt99          round trips of the last interval, median and 99th percentile
 >p99, <p99            one-way delay over the least of the interval: no clocks are compared
 owd50, owd99          one-way delay as received, with the difference of the clocks
 ▁▂▃▅▇ rtt99 of the last intervals, × with losses
 heatmaps: a column each interval; ░ some of its delays, ▒ 2 %, ▓ 10 %, █ 30 %
           below: × losses in this direction, ▲ burst or outage
";

/// Draws events, as many as there is room for.
pub(super) fn events(scene: &Scene<'_>, brush: &mut Brush<'_>, area: Rect) {
    let palette = brush.palette;
    let events = &scene.model.events;
    let heading = format!(" events: {}", events.len());
    brush.bar(area.y, palette.bar());
    brush.text(area.x, area.y, area.width, &heading, palette.bar());
    let newest = events.iter().rev().skip(scene.view.scrolled);
    for (y, event) in (area.y + 1..area.bottom()).zip(newest) {
        let style = match event.direction.as_deref() {
            _ if !event.is_trouble() => palette.quiet(),
            Some("forward") => palette.forward(),
            Some("reverse") => palette.reverse(),
            _ => palette.trouble(),
        };
        brush.text(area.x + 1, y, area.width - 1, &line(event), style);
    }
}

fn line(event: &Happened) -> String {
    let time = time_of_day(event.at_ns, 3);
    let mut line = format!("{time} {}", event.kind);
    match event.direction.as_deref() {
        Some("forward") => line += " >",
        Some("reverse") => line += " <",
        _ => {}
    }
    if !event.target.is_empty() {
        let _ = write!(line, " {} → {}", event.source, event.target);
    }
    for words in [&event.flow, &event.words] {
        if !words.is_empty() {
            let _ = write!(line, "  {words}");
        }
    }
    line
}

pub(super) fn help(brush: &mut Brush<'_>, area: Rect) {
    for (y, line) in (area.y + 1..area.bottom()).zip(HELP.lines()) {
        brush.text(area.x, y, area.width, line, brush.palette.plain());
    }
}
