//! From measurements to a table: percentiles of one repetition, median and spread over several.

use std::fmt;
use std::time::Duration;

/// The latencies of one repetition, and how long it took.
pub(crate) struct Sample {
    sorted: Vec<Duration>,
    elapsed: Duration,
}

impl Sample {
    pub(crate) fn new(mut latencies: Vec<Duration>, elapsed: Duration) -> Sample {
        latencies.sort_unstable();
        Sample { sorted: latencies, elapsed }
    }

    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency, in milliseconds, that so many of a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        let at = (self.sorted.len() * percent / 100).min(last);
        self.sorted.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// One figure, measured several times.
pub(crate) struct Figure(Vec<f64>);

impl Figure {
    pub(crate) fn of<T>(repetitions: &[T], measure: impl Fn(&T) -> f64) -> Figure {
        let mut values: Vec<f64> = repetitions.iter().map(measure).collect();
        values.sort_unstable_by(f64::total_cmp);
        Figure(values)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> String {
        self.0.get(self.0.len() / 2).map_or("-".to_owned(), |value| shown(*value))
    }

    /// The least and the greatest.
    pub(crate) fn spread(&self) -> String {
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(greatest)) => format!("{}..{}", shown(*least), shown(*greatest)),
            _ => "-".to_owned(),
        }
    }
}

/// Three digits that mean something, and no more.
fn shown(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table with aligned columns: the first to the left, the others to the right.
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, columns: &[&str]) -> Table {
        let head = columns.iter().map(|&name| name.to_owned()).collect();
        Table { title: title.into(), rows: vec![head] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        writeln!(f, "{}", self.title)?;
        for row in &self.rows {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "  {cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
