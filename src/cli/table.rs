//! A table for a terminal: columns side by side, two blanks between them, cut to the width at hand.
//!
//! A column is as wide as its widest cell, as a terminal shows it: most letters of East Asia and
//! most emoji take two places, combining marks none. Rarer scripts are not known here, so such a
//! column may stand a little crooked. What cells hold comes from strangers: control characters are
//! shown as blanks, so that no record can move the cursor or colour the screen. This is not an
//! export: for programs there are `--json` and `crmirror export`.

/// Blanks between two columns.
const GAP: usize = 2;

/// No column is narrowed below this while the others can still give: a few letters and `…`.
const NARROWEST: usize = 6;

/// Rows under a header, all with as many cells as the header has.
#[derive(Clone, Debug)]
pub struct Table {
    /// The header first.
    rows: Vec<Vec<String>>,
    columns: usize,
}

impl Table {
    /// A table with these column titles and no rows.
    pub fn new<'t>(titles: impl IntoIterator<Item = &'t str>) -> Table {
        let header: Vec<String> = titles.into_iter().map(printable).collect();
        Table { columns: header.len(), rows: vec![header] }
    }

    /// Adds a row. Missing cells are blank; cells beyond the last column are left out.
    pub fn push<'t>(&mut self, cells: impl IntoIterator<Item = &'t str>) {
        let mut row: Vec<String> = cells.into_iter().take(self.columns).map(printable).collect();
        row.resize(self.columns, String::new());
        self.rows.push(row);
    }

    /// The table as lines, each with its line end, none longer than `width` characters. Without a
    /// width (the output is a file or a pipe) nothing is cut.
    pub fn render(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut lines = String::new();
        for row in &self.rows {
            let line = line(row, &widths);
            lines.push_str(&cut(line.trim_end(), width.unwrap_or(usize::MAX)));
            lines.push('\n');
        }
        lines
    }

    /// The width of each column: the widest gives first until all fit.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns)
            .map(|column| self.rows.iter().map(|row| length(&row[column])).max().unwrap_or(0))
            .collect();
        let Some(limit) = limit else {
            return widths;
        };
        let room = limit.saturating_sub(GAP * self.columns.saturating_sub(1));
        for width in &mut widths {
            *width = (*width).min(room.max(NARROWEST));
        }
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                Some(_) | None => break,
            }
        }
        widths
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, &width) in row.iter().zip(widths) {
        let shown = cut(cell, width);
        let blanks = width - length(&shown) + GAP;
        line.push_str(&shown);
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    line
}

/// The text in at most `width` characters; `…` stands for what is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let kept = text.chars().take_while(|letter| {
        taken += places(*letter);
        taken < width
    });
    kept.chain((width > 0).then_some('…')).collect()
}

/// The text with blanks in place of what would command the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if is_unruly(letter) { ' ' } else { letter }).collect()
}

/// Control characters, and those that turn the direction of what follows.
fn is_unruly(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2066}'..='\u{2069}')
}

fn length(text: &str) -> usize {
    text.chars().map(places).sum()
}

/// Places that a letter takes on a terminal, by the blocks of Unicode.
fn places(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{20d0}'..='\u{20ff}' => 0,
        '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{a4cf}' => 2,
        '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' => 2,
        '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1f64f}' => 2,
        '\u{1f680}'..='\u{1f6ff}' | '\u{1f900}'..='\u{1f9ff}' | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[&[&str]], width: Option<usize>, expected: &[&str]) {
        let mut table = Table::new(rows[0].iter().copied());
        for row in &rows[1..] {
            table.push(row.iter().copied());
        }
        let shown = table.render(width);
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected, "at {width:?}");
        assert_eq!(shown.lines().count(), rows.len());
        let limit = width.unwrap_or(usize::MAX);
        assert!(shown.lines().all(|line| line.chars().count() <= limit));
    }

    #[test]
    fn columns_stand_under_their_titles() {
        let rows: &[&[&str]] = &[&["module", "records"], &["Leads", "12"], &["Price_Books", "7"]];
        check(rows, None, &["module       records", "Leads        12", "Price_Books  7"]);
        check(&[&["id", "Größe"], &["é", "x"]], Some(80), &["id  Größe", "é   x"]);
    }

    #[test]
    fn rows_have_a_cell_for_each_column() {
        check(&[&["a", "b"], &[], &["1"], &["1", "2", "3"]], None, &["a  b", "", "1", "1  2"]);
        check(&[&[]], Some(10), &[""]);
    }

    #[test]
    fn the_widest_column_gives_way_first() {
        let rows: &[&[&str]] = &[&["id", "name"], &["7", "Anna Bartholomew-Featherstone"]];
        check(rows, Some(14), &["id  name", "7   Anna Bart…"]);
        let even: &[&[&str]] = &[&["abcdefghij", "abcdefghij"]];
        check(even, Some(16), &["abcdef…  abcdef…"]);
    }

    #[test]
    fn no_line_is_longer_than_the_terminal_however_narrow() {
        let rows: &[&[&str]] = &[&["abcdefgh", "abcdefgh"], &["1", "2"]];
        check(rows, Some(9), &["abcde…  …", "1       2"]);
        check(rows, Some(1), &["…", "…"]);
        check(rows, Some(0), &["", ""]);
    }

    #[test]
    fn wide_letters_take_two_places_and_marks_none() {
        check(
            &[&["東京都", "x"], &["e\u{301}", "y"], &["😀", "z"]],
            None,
            &["東京都  x", "e\u{301}       y", "😀      z"],
        );
        check(&[&["東京都庁の電話番号", "x"]], Some(16), &["東京都庁の電…  x"]);
    }

    #[test]
    fn a_cell_cannot_command_the_terminal() {
        check(&[&["a\u{1b}[31mb\r\n", "c\u{202e}d"]], None, &["a [31mb    c d"]);
    }
}
