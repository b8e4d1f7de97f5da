//! Charts as SVG files: [`Chart`]. Small, the same bytes for the same figures, and readable on light and dark pages.

use std::fmt::Write as _;

/// A chart of figures over a quantity with a logarithmic scale.
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) upward: &'static str,
    /// The vertical scale is logarithmic, too.
    pub(crate) logarithmic: bool,
    pub(crate) series: Vec<Series>,
}

pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
/// The edges of the plot.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 285.0;

/// One colour for each series, on light and on dark.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.title{font-weight:600}.grid{stroke:#ddd}\
    .s0{stroke:#c2410c;fill:#c2410c}.s1{stroke:#1d4ed8;fill:#1d4ed8}polyline{fill:none;stroke-width:2}\
    @media(prefers-color-scheme:dark){text{fill:#ccc}.grid{stroke:#444}.s0{stroke:#fb923c;fill:#fb923c}\
    .s1{stroke:#60a5fa;fill:#60a5fa}polyline{fill:none}}";

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let most = |of: fn(&Point) -> f64| points().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let least = |of: fn(&Point) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
        let (first, last) = (least(|point| point.at).ln(), most(|point| point.at).ln());
        let ticks = self.ticks(least(|point| point.lowest), most(|point| point.highest));
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        let x = |at: f64| LEFT + (at.ln() - first) / (last - first).max(f64::MIN_POSITIVE) * (RIGHT - LEFT);
        let y = |value: f64| {
            let share = match self.logarithmic {
                true => (value.max(low) / low).ln() / (high / low).ln(),
                false => value / high,
            };
            BOTTOM - share * (BOTTOM - TOP)
        };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{0}</title>\n\
             <style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"20\">{0}</text>\n",
            self.title
        );
        // Writing to a String cannot fail.
        let mut add = |line: String| _ = writeln!(out, "{line}");
        add(format!("<text x=\"{LEFT}\" y=\"40\">{}</text>", self.upward));
        for tick in &ticks {
            let y = y(*tick);
            add(format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            let (x, y) = (LEFT - 6.0, y + 4.0);
            add(format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", short(*tick)));
        }
        for point in self.series.iter().take(1).flat_map(|series| &series.points) {
            let (x, y) = (x(point.at), BOTTOM + 18.0);
            add(format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", short(point.at)));
        }
        let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 40.0);
        add(format!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", self.across));
        for (number, series) in self.series.iter().enumerate() {
            let line: Vec<_> =
                series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.at), y(point.median))).collect();
            add(format!("<g class=\"s{number}\">\n<polyline points=\"{}\"/>", line.join(" ")));
            for point in &series.points {
                let (x, y, from, to) = (x(point.at), y(point.median), y(point.lowest), y(point.highest));
                add(format!("<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"/>"));
                add(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
            }
            let at = RIGHT - 150.0 + 80.0 * number as f64;
            add(format!("<circle cx=\"{at}\" cy=\"16\" r=\"4\"/>\n</g>"));
            add(format!("<text x=\"{}\" y=\"20\">{}</text>", at + 9.0, series.name));
        }
        add("</svg>".to_owned());
        out
    }

    /// The values of the horizontal lines, from the lowest to the highest.
    fn ticks(&self, lowest: f64, highest: f64) -> Vec<f64> {
        if self.logarithmic {
            let (first, last) = (lowest.log10().floor() as i32, highest.log10().ceil() as i32);
            return (first..=last.max(first + 1)).map(|power| 10_f64.powi(power)).collect();
        }
        let rough = highest / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(highest / step).ceil() as usize).map(|number| number as f64 * step).collect()
    }
}

/// A number with at most two decimals, and thousands as letters.
fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        1e6.. => (number / 1e6, "M"),
        1e3.. => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool, points: &[(f64, f64)]) -> Chart {
        let points = points
            .iter()
            .map(|&(at, median)| Point { at, median, lowest: median / 2.0, highest: median * 2.0 })
            .collect();
        let series = vec![Series { name: "Kiln", points }];
        Chart { title: "A title", across: "connections", upward: "us", logarithmic, series }
    }

    #[test]
    fn scales() {
        let check = |logarithmic, lowest, highest, expected: &[f64]| {
            assert_eq!(chart(logarithmic, &[]).ticks(lowest, highest), expected);
        };
        check(false, 10.0, 38.0, &[0.0, 10.0, 20.0, 30.0, 40.0]);
        check(false, 0.3, 0.9, &[0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        check(true, 12.0, 4000.0, &[10.0, 100.0, 1000.0, 10_000.0]);
        for (number, text) in [(0.25, "0.25"), (64.0, "64"), (1000.0, "1k"), (1_500_000.0, "1.5M"), (1e8, "100M")] {
            assert_eq!(short(number), text);
        }
    }

    /// The first and the last point are at the edges, zero is at the bottom, and the lines of the range are where the figures are.
    #[test]
    fn drawn() {
        let svg = chart(false, &[(10.0, 20.0), (1000.0, 50.0)]).svg();
        assert!(svg.contains("<polyline points=\"70.0,238.0 620.0,167.5\"/>"), "{svg}");
        assert!(svg.contains("<line x1=\"70.0\" x2=\"70.0\" y1=\"261.5\" y2=\"191.0\"/>"), "{svg}");
        assert!(svg.contains("<line class=\"grid\" x1=\"70\" x2=\"620\" y1=\"285.0\" y2=\"285.0\"/>"), "{svg}");
        let svg = chart(true, &[(1.0, 20.0), (10.0, 200.0), (100.0, 2000.0)]).svg();
        assert!(svg.contains("<polyline points=\"70.0,") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 4);
    }
}
