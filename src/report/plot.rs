//! Draws plots as SVG.
//!
//! Each colour stands for one thing, so the page can replace those of text and grid for readers who prefer a
//! dark page. No text in a plot comes from a file.

use std::error::Error;
use std::fmt::Write as _;
use std::ops::Range;

use plotters::chart::MeshStyle;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;

use crate::report::data::{
    Delays, Flow, HEAT_ROWS, HEAT_ROWS_PER_DECADE, Heat, Probe, as_f64, signed_f64,
};
use crate::report::text::duration;

const WIDTH: u32 = 1_000;
const FORWARD: RGBColor = RGBColor(0x1f, 0x77, 0xd0);
const REVERSE: RGBColor = RGBColor(0xe0, 0x78, 0x00);
const OTHER: RGBColor = RGBColor(0x80, 0x80, 0x8a);
const BURST: RGBColor = RGBColor(0xd6, 0x2f, 0x4b);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xe2);

/// Columns of a plot of probes. With more probes, each column shows its least and its greatest delay.
const COLUMNS: usize = 500;
/// The most losses of each direction in a plot.
const LOSSES_MAX: usize = 1_000;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

type Drawn = Result<(), Box<dyn Error>>;

/// Places of a plot with a tooltip, and its text.
type Spots = Vec<((i32, i32), String)>;

/// Returns an SVG with what `draw` puts between the axes.
fn svg(
    height: u32,
    x: Range<f64>,
    y: Range<f64>,
    draw: impl FnOnce(&mut Chart<'_>, &mut Spots) -> Drawn,
) -> String {
    let (mut text, mut spots) = (String::new(), Spots::new());
    let drawn = || -> Drawn {
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(x, y)?;
        draw(&mut chart, &mut spots)?;
        Ok(root.present()?)
    };
    drawn().expect("memory takes every plot");
    let end = text.rfind("</svg>").unwrap_or(text.len());
    text.truncate(end);
    for ((x, y), words) in spots {
        let _ = write!(
            text,
            "<circle class=\"spot\" cx=\"{x}\" cy=\"{y}\" r=\"5\"><title>{words}</title></circle>"
        );
    }
    text.push_str("</svg>");
    text
}

/// Draws what the legend calls `name`, beside a square of its colour.
fn draw_named<'a, E>(
    chart: &mut Chart<'a>,
    elements: impl IntoIterator<Item = E>,
    name: &str,
    colour: RGBAColor,
) -> Drawn
where
    for<'b> &'b E: PointCollection<'b, (f64, f64)>,
    E: Drawable<SVGBackend<'a>>,
{
    let drawn = chart.draw_series(elements)?;
    drawn
        .label(name)
        .legend(move |(x, y)| Rectangle::new([(x + 5, y - 5), (x + 15, y + 5)], colour.filled()));
    Ok(())
}

/// A delay of probes: its name, its colour, and how it is read.
type Way = (&'static str, RGBColor, fn(&Probe) -> Option<i64>);

/// Returns both directions, or the round trip if a flow has neither.
fn ways(flow: &Flow) -> Vec<Way> {
    let all: [Way; 3] = [
        ("forward", FORWARD, |probe| probe.forward),
        ("reverse", REVERSE, |probe| probe.reverse),
        ("round trip", OTHER, |probe| probe.rtt),
    ];
    let mut ways = all.to_vec();
    ways.retain(|way| flow.probes.iter().any(|probe| way.2(probe).is_some()));
    if ways.len() > 1 {
        ways.retain(|way| way.0 != "round trip");
    }
    ways
}

/// Returns the least and the greatest point of each column, or all points if they are few.
fn thinned(points: &[(f64, i64)]) -> Vec<(f64, i64)> {
    if points.len() <= 4 * COLUMNS {
        return points.to_vec();
    }
    let extremes = points
        .chunks(points.len().div_ceil(COLUMNS))
        .flat_map(|chunk| {
            let least = chunk.iter().min_by_key(|point| point.1);
            let most = chunk.iter().max_by_key(|point| point.1);
            least.into_iter().chain(most)
        });
    extremes.copied().collect()
}

/// Draws the delay of every probe over the least of its direction, losses below, and the burst shaded.
pub(super) fn probes(flow: &Flow) -> String {
    let times = || flow.probes.iter().map(|probe| probe.at);
    let first = times().min().unwrap_or(0);
    let origin = flow.burst("start").unwrap_or(first).max(0);
    let ms = |at: i64| signed_f64(at.saturating_sub(origin)) / 1e6;
    let (from, to) = (ms(first), ms(times().max().unwrap_or(first)));
    let margin = ((to - from) * 0.01).max(0.001);
    let series: Vec<(Way, Vec<(f64, i64)>)> = ways(flow)
        .into_iter()
        .map(|way| {
            let delays = || {
                flow.probes
                    .iter()
                    .filter_map(|probe| Some((probe.at, way.2(probe)?)))
            };
            let least = delays().map(|(_, ns)| ns).min().unwrap_or(0);
            let points: Vec<_> = delays().map(|(at, ns)| (ms(at), ns - least)).collect();
            (way, thinned(&points))
        })
        .collect();
    let all = series.iter().flat_map(|(_, points)| points);
    let most = all.map(|point| point.1).max().unwrap_or(0);
    let most = signed_f64(most.max(1_000)) * 1.08;
    let (x, y) = (from - margin..to + margin, -0.16 * most..most);
    svg(400, x, y, |chart, spots| {
        if let (Some(start), Some(length)) = (flow.burst("start"), flow.burst("duration")) {
            let (left, right) = (
                ms(start).max(from),
                ms(start.saturating_add(length)).min(to),
            );
            let area = Rectangle::new(
                [(left, -0.16 * most), (right, most)],
                BURST.mix(0.13).filled(),
            );
            draw_named(chart, [area], flow.word(), BURST.mix(0.3))?;
        }
        mesh(chart)
            .x_desc(match flow.burst("start") {
                Some(_) => format!("ms since the {} began", flow.word()),
                None => "ms since the first probe".to_owned(),
            })
            .y_desc("delay over the direction's least")
            .x_labels(12)
            .y_label_formatter(&|ns| {
                if *ns < 0.0 {
                    String::new()
                } else {
                    length(*ns)
                }
            })
            .draw()?;
        for ((name, colour, _), points) in &series {
            let colour = *colour;
            let dots = points
                .iter()
                .map(|(x, ns)| Circle::new((*x, signed_f64(*ns)), 2, colour.filled()));
            draw_named(chart, dots, name, colour.into())?;
            let highest = points.iter().max_by_key(|point| point.1).into_iter();
            for (x, ns) in points
                .iter()
                .step_by(points.len().div_ceil(COLUMNS).max(1))
                .chain(highest)
            {
                let words = format!("{name}: {} over its least, at {x:.3} ms", duration(*ns));
                spots.push((chart.backend_coord(&(*x, signed_f64(*ns))), words));
            }
        }
        losses(chart, spots, flow, &|probe, height| {
            (ms(probe.at), height * most)
        })?;
        legend(chart, SeriesLabelPosition::UpperRight)
    })
}

/// Draws a cross for each loss, in a row for each direction, below 0.
fn losses(
    chart: &mut Chart<'_>,
    spots: &mut Spots,
    flow: &Flow,
    place: &dyn Fn(&Probe, f64) -> (f64, f64),
) -> Drawn {
    let kinds = [
        (Some("forward"), "lost forward", FORWARD, -0.04),
        (Some("reverse"), "lost reverse", REVERSE, -0.08),
        (None, "lost, direction unknown", OTHER, -0.12),
    ];
    for (way, name, colour, height) in kinds {
        let is_such = |probe: &&Probe| probe.is_lost && probe.lost_on == way;
        let lost: Vec<&Probe> = flow
            .probes
            .iter()
            .filter(is_such)
            .take(LOSSES_MAX)
            .collect();
        if lost.is_empty() {
            continue;
        }
        let crosses = lost
            .iter()
            .map(|probe| Cross::new(place(probe, height), 4, colour.stroke_width(2)));
        chart
            .draw_series(crosses)?
            .label(name)
            .legend(move |(x, y)| Cross::new((x + 10, y), 4, colour.stroke_width(2)));
        for probe in lost {
            let at = place(probe, height);
            spots.push((
                chart.backend_coord(&at),
                format!("{name}: probe {}, sent at {:.3} ms", probe.seq, at.0),
            ));
        }
    }
    Ok(())
}

/// Returns the axes and the grid that all plots have.
fn mesh<'a, 'b>(
    chart: &'b mut Chart<'a>,
) -> MeshStyle<'a, 'b, RangedCoordf64, RangedCoordf64, SVGBackend<'a>> {
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(OTHER)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 14));
    mesh
}

fn legend(chart: &mut Chart<'_>, position: SeriesLabelPosition) -> Drawn {
    let mut labels = chart.configure_series_labels();
    let labels = labels
        .position(position)
        .label_font(("sans-serif", 14))
        .border_style(TRANSPARENT);
    Ok(labels.draw()?)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn length(ns: f64) -> String {
    duration(ns.round() as i64)
}

/// Draws percentiles over the logarithm of `1 / (1 - q)`, which shows the greatest delays widest.
pub(super) fn percentiles(curves: &[(&'static str, &Delays)]) -> String {
    const STEPS: u32 = 200;
    let base = |delays: &Delays| if curves.len() > 1 { delays.least } else { 0 };
    let (mut longest, mut least, mut most) = (10, 0, i64::MIN);
    for (_, delays) in curves {
        longest = longest.max(delays.count());
        least = least.min(delays.least - base(delays));
        most = most.max(delays.most - base(delays));
    }
    most = most.max(least + 1);
    let decades = as_f64(longest).log10();
    let y = signed_f64(least)..signed_f64(most) * 1.05;
    svg(320, 0.0..decades, y, |chart, spots| {
        mesh(chart)
            .x_desc("percentile")
            .y_desc(if curves.len() > 1 {
                "delay over the least"
            } else {
                "delay"
            })
            .x_labels(8)
            .x_label_formatter(&|x| {
                if x.fract() == 0.0 {
                    percentile(*x)
                } else {
                    String::new()
                }
            })
            .y_label_formatter(&|ns| length(*ns))
            .draw()?;
        // Round trips come first: they would hide a direction that has all of the delay.
        for (index, (name, delays)) in curves.iter().enumerate().rev() {
            let colour = [FORWARD, REVERSE, OTHER][index.min(2)];
            let own = as_f64(delays.count().max(1)).log10();
            let points: Vec<(f64, f64)> = (0..=STEPS)
                .map(|step| {
                    let x = f64::from(step) / f64::from(STEPS) * own;
                    // The last step is the greatest delay.
                    let part = match step {
                        STEPS => 1.0,
                        _ => 1.0 - 10_f64.powf(-x),
                    };
                    (x, signed_f64(delays.quantile(part) - base(delays)))
                })
                .collect();
            for (x, ns) in points.iter().step_by(4) {
                spots.push((
                    chart.backend_coord(&(*x, *ns)),
                    format!("{name}, {}: {}", percentile(*x), length(*ns)),
                ));
            }
            let line = LineSeries::new(points, colour.stroke_width(2));
            draw_named(chart, line, name, colour.into())?;
        }
        if curves.len() > 1 {
            legend(chart, SeriesLabelPosition::UpperLeft)?;
        }
        Ok(())
    })
}

/// Formats a percentile: 0 is "0%", 1 is "90%", 2 is "99%".
fn percentile(decades: f64) -> String {
    let part = 100.0 * (1.0 - 10_f64.powf(-decades));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 20"
    )]
    let digits = (decades.ceil() as usize).saturating_sub(2);
    format!("{part:.digits$}%")
}

/// Draws the number of delays by time and size.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are some hundred rows and columns"
)]
pub(super) fn heat(heat: &Heat) -> String {
    let is_used = |row: usize| heat.cells.iter().any(|column| column[row] > 0);
    let mut rows = (0..HEAT_ROWS).filter(|row| is_used(*row));
    let low = rows.next().unwrap_or(0);
    let high = rows.next_back().unwrap_or(low) + 2;
    let low = low.saturating_sub(1);
    let mut columns = heat.cells.iter();
    let last = columns.rposition(|column| column.iter().any(|cell| *cell > 0));
    let most = heat.cells.iter().flatten().max();
    let most = most.copied().unwrap_or(1).max(2);
    let seconds = signed_f64(heat.column_ns) / 1e9;
    let delay = |row: f64| 10_f64.powf(row / f64::from(HEAT_ROWS_PER_DECADE));
    let width = (last.unwrap_or(0) + 1) as f64 * seconds;
    svg(320, 0.0..width, low as f64..high as f64, |chart, spots| {
        mesh(chart)
            .disable_mesh()
            .x_desc("seconds since the first")
            .y_desc("delay (log)")
            .y_label_formatter(&|row| length(delay(*row)))
            .draw()?;
        for (x, column) in heat.cells.iter().enumerate() {
            for (row, count) in column.iter().enumerate().filter(|(_, count)| **count > 0) {
                let strength = 0.15 + 0.85 * f64::from(*count).ln() / f64::from(most).ln();
                let corners = [
                    (x as f64 * seconds, row as f64),
                    ((x + 1) as f64 * seconds, (row + 1) as f64),
                ];
                chart.draw_series([Rectangle::new(corners, FORWARD.mix(strength).filled())])?;
                if x % 4 == 0 || *count == 1 {
                    let words = format!(
                        "{count} of about {}, from {:.3} s on",
                        length(delay(row as f64)),
                        corners[0].0
                    );
                    let middle = ((x as f64 + 0.5) * seconds, row as f64 + 0.5);
                    spots.push((chart.backend_coord(&middle), words));
                }
            }
        }
        Ok(())
    })
}
