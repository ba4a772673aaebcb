//! Tables for people: columns as wide as what is in them.

use std::fmt::Write as _;

use super::console::{Console, Failure};

/// One column.
pub(super) struct Column {
    heading: String,
    is_number: bool,
    colour: Option<fn(&str) -> &'static str>,
}

impl Column {
    /// Of words.
    pub(super) fn text(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), is_number: false, colour: None }
    }

    /// Of numbers.
    pub(super) fn number(heading: impl Into<String>) -> Self {
        Self { is_number: true, ..Self::text(heading) }
    }

    /// Where the console is coloured, in the colour of each cell.
    pub(super) fn coloured(self, colour: fn(&str) -> &'static str) -> Self {
        Self { colour: Some(colour), ..self }
    }
}

/// Prints headings and rows; a row has a cell for every column.
pub(super) fn print(columns: &[Column], rows: &[Vec<String>], console: &mut Console<'_>) -> Result<(), Failure> {
    let width = |(n, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(n)).chain([&column.heading]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let headings: Vec<String> = columns.iter().map(|column| column.heading.clone()).collect();
    for (n, row) in [&headings].into_iter().chain(rows).enumerate() {
        let mut line = String::new();
        for ((column, width), cell) in columns.iter().zip(&widths).zip(row) {
            let colour = column.colour.filter(|_| console.colour && n > 0).map(|colour| colour(cell));
            let (on, off) = colour.map_or(("", ""), |on| (on, "\x1b[0m"));
            // Writing to a String does not fail.
            let _ = match column.is_number {
                true => write!(line, "{on}{cell:>width$}{off}  "),
                false => write!(line, "{on}{cell:<width$}{off}  "),
            };
        }
        console.line(line.trim_end())?;
    }
    Ok(())
}
