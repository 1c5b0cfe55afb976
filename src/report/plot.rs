//! Draws plots as SVG.
//!
//! Each colour stands for one thing, so the page can replace those of text and grid for readers who prefer a
//! dark page. No text in a plot comes from a file.

use std::error::Error;
use std::fmt::Write as _;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;

use crate::proto::Wall;
use crate::report::data::{Flow, Probe};
use crate::report::series::{Delays, HEAT_ROWS, HEAT_ROWS_PER_DECADE, Heat, as_f64, signed_f64};
use crate::report::words::duration;

const WIDTH: i32 = 1_000;
/// Steps of a unit of the picture in which what is between the axes is placed: a reader who zooms sees them apart.
const FINE: i32 = 16;
// Blue, vermilion and purple of Okabe and Ito, which nobody who is blind to a colour takes for one another.
const FORWARD: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const REVERSE: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const OTHER: RGBColor = RGBColor(0x80, 0x80, 0x8a);
const BURST: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xe2);

/// Columns of a plot of probes. With more probes, each column shows its least and its greatest delay.
const COLUMNS: usize = 500;
/// The most losses of each direction in a plot.
const LOSSES_MAX: usize = 1_000;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

type Drawn = Result<(), Box<dyn Error>>;

/// Formats the label of a value on an axis.
type Label<'a> = &'a dyn Fn(&f64) -> String;

/// What the axes of a plot mean, for the page's script.
enum Axes {
    /// Time, in units of so many ms from this Unix time on, and delays in ns.
    Time { origin: i64, unit_ms: f64 },
    /// The same, with rows of a heatmap in place of delays.
    Heat { origin: i64 },
    /// Decades of `1 / (1 - q)`, and delays in ns.
    Percentiles,
}

/// A plot without what is drawn in it.
struct Frame<'a> {
    axes: Axes,
    height: i32,
    x: Range<f64>,
    y: Range<f64>,
    /// What the axes are called.
    names: [&'a str; 2],
    /// Labels of the axis of x, at the most.
    x_labels: usize,
    /// `None`: as a plain number.
    x_label: Option<Label<'a>>,
    y_label: Label<'a>,
    has_grid: bool,
    legend_at_right: bool,
}

/// What is drawn between the axes.
struct Inside<'a> {
    chart: Chart<'a>,
    /// Places with a tooltip, and its text.
    spots: Vec<((i32, i32), String)>,
    named: Vec<Named>,
}

/// What the legend names.
#[derive(Clone, Copy)]
struct Named {
    name: &'static str,
    colour: RGBAColor,
    /// It is drawn as crosses, and otherwise as areas, dots or lines.
    is_cross: bool,
}

impl Named {
    fn new(name: &'static str, colour: impl Into<RGBAColor>) -> Self {
        Self {
            name,
            colour: colour.into(),
            is_cross: false,
        }
    }
}

impl<'a> Inside<'a> {
    /// Draws what the legend names.
    fn draw<E>(&mut self, elements: impl IntoIterator<Item = E>, named: Named) -> Drawn
    where
        for<'b> &'b E: PointCollection<'b, (f64, f64)>,
        E: Drawable<SVGBackend<'a>>,
    {
        self.chart.draw_series(elements)?;
        self.named.push(named);
        Ok(())
    }

    /// Gives a place a tooltip.
    fn spot(&mut self, x: f64, y: f64, words: String) {
        self.spots.push((self.chart.backend_coord(&(x, y)), words));
    }
}

impl Frame<'_> {
    /// Returns the axes as attributes: their places in the picture, and the values there.
    fn attributes(&self) -> String {
        let (kind, origin, unit) = match self.axes {
            Axes::Time { origin, unit_ms } => ("time", origin, unit_ms),
            Axes::Heat { origin } => ("heat", origin, 1e3),
            Axes::Percentiles => ("percentiles", 0, 1.0),
        };
        let [left, right, top, bottom] = self.edges();
        format!(
            "data-kind=\"{kind}\" data-plot=\"{left} {right} {top} {bottom}\" data-x=\"{} {}\" \
             data-y=\"{} {}\" data-origin=\"{}\" data-unit=\"{unit}\" data-fine=\"{FINE}\" ",
            self.x.start,
            self.x.end,
            self.y.start,
            self.y.end,
            signed_f64(origin) / 1e6
        )
    }

    /// Returns where the axes are: left, right, top, bottom.
    fn edges(&self) -> [i32; 4] {
        [
            MARGIN + Y_LABELS,
            WIDTH - MARGIN,
            MARGIN,
            self.height - MARGIN - X_LABELS,
        ]
    }

    /// Returns the picture with what `draw` puts between the axes.
    ///
    /// What is beside the axes and what is between them are groups of their own: the page's script moves the second
    /// and draws the first anew when its reader zooms.
    fn svg(&self, draw: impl FnOnce(&mut Inside<'_>) -> Drawn) -> String {
        let (mut beside, mut between) = (String::new(), String::new());
        let (mut spots, mut named) = (Vec::new(), Vec::new());
        let drawn = || -> Drawn {
            let root = SVGBackend::with_string(&mut beside, self.size(1)).into_drawing_area();
            let mut chart = self.chart(&root, 1)?;
            self.mesh(&mut chart)?;
            root.present()?;
            let root = SVGBackend::with_string(&mut between, self.size(FINE)).into_drawing_area();
            let mut inside = Inside {
                chart: self.chart(&root, FINE)?,
                spots: Vec::new(),
                named: Vec::new(),
            };
            draw(&mut inside)?;
            (spots, named) = (inside.spots, inside.named);
            Ok(root.present()?)
        };
        drawn().expect("memory takes every plot");
        let [left, right, top, bottom] = self.edges();
        let mut out = format!(
            "<svg role=\"img\" {}width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n<g class=\"axes\">{}</g>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"14\">{}</text>\n\
             <text x=\"{}\" y=\"22\" text-anchor=\"middle\" font-size=\"14\" transform=\"rotate(-90)\">{}</text>\n\
             <g class=\"inside\" transform=\"scale({})\">{}",
            self.attributes(),
            elements(&beside),
            left.midpoint(right),
            self.height - MARGIN,
            self.names[0],
            -top.midpoint(bottom),
            self.names[1],
            1.0 / f64::from(FINE),
            elements(&between),
            height = self.height,
        );
        for ((x, y), words) in spots {
            let _ = write!(
                out,
                "<circle class=\"spot\" cx=\"{x}\" cy=\"{y}\" r=\"{}\"><title>{words}</title></circle>",
                5 * FINE
            );
        }
        out.push_str("</g>\n");
        if !named.is_empty() {
            self.legend(&mut out, &named);
        }
        out.push_str("</svg>");
        out
    }

    fn size(&self, scale: i32) -> (u32, u32) {
        let scaled = |size: i32| (size * scale).unsigned_abs();
        (scaled(WIDTH), scaled(self.height))
    }

    fn chart<'a>(&self, root: &Root<'a>, scale: i32) -> Result<Chart<'a>, Box<dyn Error>> {
        let chart = ChartBuilder::on(root)
            .margin(MARGIN * scale)
            .x_label_area_size(X_LABELS * scale)
            .y_label_area_size(Y_LABELS * scale)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        Ok(chart)
    }

    /// Draws the axes with their labels, and the grid.
    fn mesh(&self, chart: &mut Chart<'_>) -> Drawn {
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(OTHER)
            .label_style(("sans-serif", 14))
            .x_labels(self.x_labels)
            .y_label_formatter(self.y_label);
        if let Some(label) = self.x_label {
            mesh.x_label_formatter(label);
        }
        if !self.has_grid {
            mesh.disable_mesh();
        }
        Ok(mesh.draw()?)
    }

    fn legend(&self, out: &mut String, named: &[Named]) {
        // The width of letters is the browser's own: this is room for them.
        let letters = named.iter().map(|one| one.name.len()).max();
        let wide = 36 + 7 * i32::try_from(letters.unwrap_or(0)).unwrap_or(0);
        let [left, right, top, _] = self.edges();
        let x = if self.legend_at_right {
            right - wide - 4
        } else {
            left + 6
        };
        let tall = 20 * i32::try_from(named.len()).unwrap_or(0) + 6;
        let _ = writeln!(
            out,
            "<g class=\"legend\"><rect class=\"under\" x=\"{x}\" y=\"{}\" width=\"{wide}\" height=\"{tall}\" \
             fill=\"#fff\" opacity=\"0.8\"/>",
            top + 4
        );
        for (one, y) in named.iter().zip((top + 17..).step_by(20)) {
            let (name, RGBAColor(r, g, b, opacity)) = (one.name, one.colour);
            let colour = format!("#{r:02X}{g:02X}{b:02X}");
            let _ = if one.is_cross {
                write!(
                    out,
                    "<path d=\"M{} {}l8 8m0 -8l-8 8\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                    x + 9,
                    y - 4
                )
            } else {
                write!(
                    out,
                    "<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\" opacity=\"{opacity}\"/>",
                    x + 8,
                    y - 5
                )
            };
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"14\">\n{name}\n</text>",
                x + 26,
                y + 5
            );
        }
        out.push_str("</g>\n");
    }
}

/// Where a chart is drawn.
type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Around a plot, below it for labels, and at its left for labels.
const MARGIN: i32 = 12;
const X_LABELS: i32 = 44;
const Y_LABELS: i32 = 84;

/// Returns what is within the outermost element.
fn elements(svg: &str) -> &str {
    let inner = svg.split_once('>').map_or("", |(_, rest)| rest);
    inner
        .rsplit_once("</svg>")
        .map_or(inner, |(inner, _)| inner)
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
    let since = match flow.burst("start") {
        Some(_) => format!("ms since the {} began", flow.word()),
        None => "ms since the first probe".to_owned(),
    };
    let frame = Frame {
        axes: Axes::Time {
            origin,
            unit_ms: 1.0,
        },
        height: 400,
        x,
        y,
        names: [&since, "delay over the direction's least"],
        x_labels: 12,
        x_label: None,
        y_label: &|ns| {
            if *ns < 0.0 {
                String::new()
            } else {
                length(*ns)
            }
        },
        has_grid: true,
        legend_at_right: true,
    };
    frame.svg(|inside| {
        if let (Some(start), Some(length)) = (flow.burst("start"), flow.burst("duration")) {
            let (left, right) = (
                ms(start).max(from),
                ms(start.saturating_add(length)).min(to),
            );
            let area = Rectangle::new(
                [(left, -0.16 * most), (right, most)],
                BURST.mix(0.13).filled(),
            );
            inside.draw([area], Named::new(flow.word(), BURST.mix(0.3)))?;
        }
        for ((name, colour, _), points) in &series {
            let dots = points
                .iter()
                .map(|(x, ns)| Circle::new((*x, signed_f64(*ns)), 5 * FINE / 2, colour.filled()));
            inside.draw(dots, Named::new(name, *colour))?;
            let highest = points.iter().max_by_key(|point| point.1).into_iter();
            for (x, ns) in points
                .iter()
                .step_by(points.len().div_ceil(COLUMNS).max(1))
                .chain(highest)
            {
                let words = format!("{name}: {} over its least, at {x:.3} ms", duration(*ns));
                inside.spot(*x, signed_f64(*ns), words);
            }
        }
        losses(inside, flow, &|probe, height| (ms(probe.at), height * most))
    })
}

/// Draws a cross for each loss, in a row for each direction, below 0.
fn losses(
    inside: &mut Inside<'_>,
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
        let style = colour.stroke_width(2 * FINE.unsigned_abs());
        let crosses = lost
            .iter()
            .map(|probe| Cross::new(place(probe, height), 4 * FINE, style));
        let named = Named {
            is_cross: true,
            ..Named::new(name, colour)
        };
        inside.draw(crosses, named)?;
        for probe in lost {
            let at = place(probe, height);
            let words = format!("{name}: probe {}, sent at {:.3} ms", probe.seq, at.0);
            inside.spot(at.0, at.1, words);
        }
    }
    Ok(())
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
    let frame = Frame {
        axes: Axes::Percentiles,
        height: 320,
        x: 0.0..decades,
        y,
        names: [
            "percentile",
            if curves.len() > 1 {
                "delay over the least"
            } else {
                "delay"
            },
        ],
        x_labels: 8,
        x_label: Some(&|x| {
            if x.fract() == 0.0 {
                percentile(*x)
            } else {
                String::new()
            }
        }),
        y_label: &|ns| length(*ns),
        has_grid: true,
        legend_at_right: false,
    };
    frame.svg(|inside| {
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
                let words = format!("{name}, {}: {}", percentile(*x), length(*ns));
                inside.spot(*x, *ns, words);
            }
            let line = LineSeries::new(points, colour.stroke_width(2 * FINE.unsigned_abs()));
            if curves.len() > 1 {
                inside.draw(line, Named::new(name, colour))?;
            } else {
                inside.chart.draw_series(line)?;
            }
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

/// Draws the number of delays by time and size, over all of the report's time.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are some hundred rows and columns"
)]
pub(super) fn heat(heat: &Heat, [first, last]: [i64; 2]) -> String {
    let is_used = |row: usize| heat.cells.iter().any(|column| column[row] > 0);
    let mut rows = (0..HEAT_ROWS).filter(|row| is_used(*row));
    let low = rows.next().unwrap_or(0);
    let high = rows.next_back().unwrap_or(low) + 2;
    let low = low.saturating_sub(1);
    let since = |at: i64| signed_f64(at.saturating_sub(first)) / 1e9;
    let start = since(heat.start.unwrap_or(first));
    let width = since(heat.end().unwrap_or(last).max(last));
    let most = heat.cells.iter().flatten().max();
    let most = most.copied().unwrap_or(1).max(2);
    let seconds = signed_f64(heat.column_ns) / 1e9;
    let delay = |row: f64| 10_f64.powf(row / f64::from(HEAT_ROWS_PER_DECADE));
    let name = format!("seconds since {}", Wall::from_unix_nanos(first));
    let frame = Frame {
        axes: Axes::Heat { origin: first },
        height: 320,
        x: 0.0..width,
        y: low as f64..high as f64,
        names: [&name, "delay (log)"],
        x_labels: 11,
        x_label: None,
        y_label: &|row| length(delay(*row)),
        has_grid: false,
        legend_at_right: true,
    };
    frame.svg(|inside| {
        for (x, column) in heat.cells.iter().enumerate() {
            for (row, count) in column.iter().enumerate().filter(|(_, count)| **count > 0) {
                let strength = 0.15 + 0.85 * f64::from(*count).ln() / f64::from(most).ln();
                let corners = [
                    (start + x as f64 * seconds, row as f64),
                    (start + (x + 1) as f64 * seconds, (row + 1) as f64),
                ];
                let cell = Rectangle::new(corners, FORWARD.mix(strength).filled());
                inside.chart.draw_series([cell])?;
                if x % 4 == 0 || *count == 1 {
                    let words = format!(
                        "{count} of about {}, from {:.3} s on",
                        length(delay(row as f64)),
                        corners[0].0
                    );
                    let middle = start + (x as f64 + 0.5) * seconds;
                    inside.spot(middle, row as f64 + 0.5, words);
                }
            }
        }
        Ok(())
    })
}
