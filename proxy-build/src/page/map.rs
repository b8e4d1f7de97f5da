//! The map of a site as SVG: four columns of boxes, and lines between them.

use super::escape;
use crate::explain::in_order;
use crate::handler;
use crate::model::Site;

/// The most routes that are drawn; of each host, the first ones in order of precedence.
const DRAWN: usize = 80;

const WIDTH: usize = 230;
const GAP: usize = 90;
const HEIGHT: usize = 24;
const STEP: usize = 32;
/// The most characters of a box.
const FITS: usize = 30;

/// A column of boxes with distinct texts.
struct Column {
    title: &'static str,
    boxes: Vec<String>,
}

impl Column {
    fn add(&mut self, text: String) -> usize {
        self.boxes.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.boxes.push(text);
            self.boxes.len() - 1
        })
    }
}

/// Draws the map.
pub(super) fn draw(site: &Site) -> String {
    let (columns, lines) = boxes(site);
    let routes: usize = site.hosts.iter().map(|host| host.routes.len()).sum();
    let mut out = svg(&columns, &lines);
    if routes > DRAWN {
        out += &format!("<p>and {} more routes</p>\n", routes - DRAWN);
    }
    out
}

/// A line from a box of a column to one of the next: the column, and the indices of the boxes.
type Edge = (usize, usize, usize);

/// Returns the columns, and the lines between their boxes.
fn boxes(site: &Site) -> ([Column; 4], Vec<Edge>) {
    let mut columns = ["Listeners", "Hosts", "Routes", "Answers"].map(|title| Column { title, boxes: Vec::new() });
    let mut lines = Vec::new();
    let mut left = DRAWN;
    for host in &site.hosts {
        let names: Vec<_> = host.hosts.iter().map(ToString::to_string).collect();
        let at = columns[1].add(names.join(" "));
        for &listener in &host.listeners {
            let from = columns[0].add(site.listeners[listener].name.to_string());
            lines.push((0, from, at));
        }
        for index in in_order(host).into_iter().take(left) {
            left -= 1;
            let route = &host.routes[index];
            // Each route has its own box, even if another has the same pattern.
            columns[2].boxes.push(route.pattern.text.clone());
            let here = columns[2].boxes.len() - 1;
            lines.push((1, at, here));
            let answer = columns[3].add(handler::checked(&route.handler).short(site));
            lines.push((2, here, answer));
        }
        if left == 0 {
            break;
        }
    }
    (columns, lines)
}

fn svg(columns: &[Column], lines: &[Edge]) -> String {
    let height = columns.iter().map(|column| column.boxes.len()).max().unwrap_or(0) * STEP + 2 * STEP;
    let width = 4 * WIDTH + 3 * GAP;
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"map of the site\">\n"
    );
    let x = |column: usize| column * (WIDTH + GAP);
    // Shorter columns are centred.
    let tallest = columns.iter().map(|column| column.boxes.len()).max().unwrap_or(0);
    let y =
        |column: usize, row: usize| STEP + STEP / 2 + (tallest - columns[column].boxes.len()) * STEP / 2 + row * STEP;
    for &(column, from, to) in lines {
        let (x1, y1) = (x(column) + WIDTH, y(column, from) + HEIGHT / 2);
        let (x2, y2) = (x(column + 1), y(column + 1, to) + HEIGHT / 2);
        let middle = (x1 + x2) / 2;
        out += &format!("<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\"/>\n");
    }
    for (index, column) in columns.iter().enumerate() {
        out += &format!("<text class=\"title\" x=\"{}\" y=\"18\">{}</text>\n", x(index), column.title);
        for (row, text) in column.boxes.iter().enumerate() {
            let (x, y) = (x(index), y(index, row));
            let shown = match text.char_indices().nth(FITS) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text.clone(),
            };
            out += &format!(
                "<g><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text></g>\n",
                escape(text),
                x + 8,
                y + 16,
                escape(&shown)
            );
        }
    }
    out + "</svg>\n"
}
