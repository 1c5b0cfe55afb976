//! Colours, and text that stays where it was put.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// The colours. Forward is blue and reverse is orange, which everybody tells apart; nothing is told by a colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) struct Palette {
    has_colours: bool,
}

#[expect(
    clippy::unused_self,
    reason = "a palette has all styles, with colours or without"
)]
impl Palette {
    /// One with colours, or with bold and reversed text only.
    pub(in crate::top) fn new(has_colours: bool) -> Self {
        Self { has_colours }
    }

    // Of the 256 colours that every terminal has had for long, those that are read on black and on white.
    fn colour(self, number: u8) -> Style {
        if self.has_colours {
            Style::new().fg(Color::Indexed(number))
        } else {
            Style::new()
        }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn forward(self) -> Style {
        self.colour(32)
    }

    pub(super) fn reverse(self) -> Style {
        self.colour(172)
    }

    /// Of losses and other trouble.
    pub(super) fn trouble(self) -> Style {
        self.colour(168).add_modifier(Modifier::BOLD)
    }

    /// Of what must be read before all else.
    pub(super) fn alarm(self) -> Style {
        self.trouble().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn bar(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// Puts text into cells. What is outside of them is left out.
pub(super) struct Brush<'a> {
    buffer: &'a mut Buffer,
    pub(super) palette: Palette,
}

impl<'a> Brush<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, palette: Palette) -> Self {
        Self { buffer, palette }
    }

    /// Fills a line.
    pub(super) fn bar(&mut self, y: u16, style: Style) {
        let area = self.buffer.area;
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        self.buffer.set_style(line.intersection(area), style);
    }

    /// Writes text from a cell to the right, at most so many cells of it. Text that is longer ends with an ellipsis.
    pub(super) fn text(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        let area = self.buffer.area;
        if y < area.y || y >= area.bottom() || x >= area.right() {
            return;
        }
        let width = width.min(area.right() - x);
        let is_cut = columns(text) > usize::from(width);
        let kept = if is_cut {
            width.saturating_sub(1)
        } else {
            width
        };
        let (end, _) = self
            .buffer
            .set_stringn(x, y, text, usize::from(kept), style);
        if is_cut && width > 0 {
            self.buffer.set_stringn(end, y, "…", 1, style);
        }
    }

    /// Writes text that ends at the right side of its cells.
    pub(super) fn right(&mut self, x: u16, y: u16, width: u16, text: &str, style: Style) {
        let columns = u16::try_from(columns(text)).unwrap_or(u16::MAX);
        let free = width.saturating_sub(columns);
        self.text(x + free, y, width - free, text, style);
    }
}

/// Returns how many cells a text needs.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}
