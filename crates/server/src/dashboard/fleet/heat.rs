//! A table of counts whose cells are darker the more there are.

use maud::{Markup, html};

use crate::dashboard::figures::grouped;
use crate::dashboard::layout::scroll;

/// Shades beside the empty one.
const SHADES: u32 = 8;

/// One count, and where to look at what it counts.
pub(super) struct Cell {
    pub(super) count: usize,
    pub(super) href: Option<String>,
}

/// One line of the table.
pub(super) struct Row {
    pub(super) name: Markup,
    pub(super) cells: Vec<Cell>,
}

/// The table. Shades follow the share of the largest count, by its square root, so that few are told from none.
pub(super) fn heat(label: &str, corner: &str, columns: &[String], rows: &[Row]) -> Markup {
    let most = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.count).max().unwrap_or(0);
    let table = html! {
        table.heat {
            thead { tr { th scope="col" { (corner) } @for column in columns { th.n scope="col" { (column) } } } }
            tbody {
                @for row in rows { tr {
                    th scope="row" { (row.name) }
                    @for cell in &row.cells {
                        td class=(format!("h{}", shade(cell.count, most))) {
                            @match (&cell.href, cell.count) {
                                (_, 0) => span.quiet { "·" span.hidden { "0" } },
                                (Some(href), count) => a href=(href) { (grouped(count as u64)) },
                                (None, count) => (grouped(count as u64)),
                            }
                        }
                    }
                } }
            }
        }
    };
    scroll(label, &table)
}

fn shade(count: usize, most: usize) -> u32 {
    if count == 0 || most == 0 {
        return 0;
    }
    let share = (count as f64 / most as f64).sqrt();
    ((share * f64::from(SHADES)).ceil() as u32).clamp(1, SHADES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_darker_and_one_is_not_none() {
        assert_eq!(
            [shade(0, 100), shade(1, 10_000), shade(2500, 10_000), shade(10_000, 10_000)],
            [0, 1, 4, 8]
        );
        assert_eq!(shade(0, 0), 0);
    }
}
