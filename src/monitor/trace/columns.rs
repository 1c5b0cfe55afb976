//! The paths of several flows as text, side by side.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::proto::{Hop, Path};

/// Spaces between two columns.
const GAP: usize = 2;
/// The width of the column of TTLs.
const TTL_WIDTH: usize = 3;

/// The path of one flow.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Which flow of the target it is, from 1.
    pub(super) number: u16,
    pub(super) path: Arc<Path>,
}

impl Column {
    fn heading(&self) -> String {
        format!("flow {} port {}", self.number, self.path.source_port)
    }

    /// Returns what stands in the row of this TTL: lines one below the other.
    fn cell(&self, ttl: usize) -> Vec<String> {
        self.path.hops.get(ttl - 1).map_or_else(Vec::new, lines)
    }

    fn width(&self, rows: usize) -> usize {
        let cells = (1..=rows).flat_map(|ttl| self.cell(ttl));
        let widest = cells.map(|line| line.len()).max().unwrap_or(0);
        widest.max(self.heading().len())
    }
}

/// Returns the lines of a hop: who it is, how far, and what else it has said.
fn lines(hop: &Hop) -> Vec<String> {
    let Some(address) = hop.address else {
        return vec!["*".to_owned()];
    };
    let mut lines = vec![address.to_string()];
    if let (Some(rtt_ns), Some(stamp)) = (hop.rtt_ns, hop.stamp) {
        let (whole, rest) = (rtt_ns / 1_000_000, rtt_ns / 1_000 % 1_000);
        lines.push(format!("{whole}.{rest:03} ms {}", stamp.as_str()));
    }
    let said = hop.icmp.map(|icmp| icmp.to_string());
    lines.extend(said.filter(|said| said != "time exceeded"));
    let labels = hop.labels.iter();
    lines.extend(labels.map(|mpls| {
        let (label, class, ttl) = (mpls.label, mpls.traffic_class, mpls.ttl);
        format!("MPLS {label} tc {class} ttl {ttl}")
    }));
    lines
}

/// Returns the paths to `host` as text for a terminal of this width. Columns that find no room beside the others follow
/// below. `asked` is the number of flows whose paths were asked for.
pub(super) fn render(host: &str, columns: &[Column], asked: u16, width: usize) -> String {
    let mut text = String::new();
    let mut rest = columns;
    while !rest.is_empty() {
        let widths = rest
            .iter()
            .map(|column| column.width(column.path.hops.len()));
        let ends = widths.scan(TTL_WIDTH, |end, column| {
            *end += GAP + column;
            Some(*end)
        });
        // The first one goes into the block even if it is too wide.
        let fit = ends.take_while(|end| *end <= width).count().max(1);
        let (block, others) = rest.split_at(fit.min(rest.len()));
        write_block(block, &mut text);
        text.push('\n');
        rest = others;
    }
    let reached = columns
        .iter()
        .filter(|column| column.path.is_reached)
        .count();
    let flows = if asked == 1 { "flow" } else { "flows" };
    let _ = writeln!(text, "{reached} of {asked} {flows} reached {host}");
    text
}

fn write_block(block: &[Column], text: &mut String) {
    let hops = |column: &Column| column.path.hops.len();
    let rows = block.iter().map(hops).max().unwrap_or(0);
    let widths: Vec<usize> = block.iter().map(|column| column.width(rows)).collect();
    let headings: Vec<String> = block.iter().map(Column::heading).collect();
    write_line("ttl", headings.iter().map(String::as_str), &widths, text);
    for ttl in 1..=rows {
        let cells: Vec<Vec<String>> = block.iter().map(|column| column.cell(ttl)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let first = if line == 0 {
                ttl.to_string()
            } else {
                String::new()
            };
            let parts = cells
                .iter()
                .map(|cell| cell.get(line).map_or("", String::as_str));
            write_line(&first, parts, &widths, text);
        }
    }
}

fn write_line<'a>(
    first: &str,
    parts: impl Iterator<Item = &'a str>,
    widths: &[usize],
    text: &mut String,
) {
    let mut line = format!("{first:>TTL_WIDTH$}");
    for (part, width) in parts.zip(widths) {
        let _ = write!(line, "{:GAP$}{part:width$}", "");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
