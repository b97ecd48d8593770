//! A picture of latency by percentile. Each step to the right leaves a tenth of the requests, so
//! that what few of them see has as much room as what most see.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::report::{kinds, millis};
use super::tally::Tally;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
/// Around the axes.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Points for each halving of what is left.
const HALVING_POINTS: u32 = 16;
const COLORS: [&str; 2] = ["#1f77b4", "#d62728"];

/// Both axes, logarithmic.
struct Axes {
    /// Tenfolds from left to right.
    decades: f64,
    /// Decades of milliseconds at the bottom and at the top.
    low: f64,
    high: f64,
}

impl Axes {
    fn of(histograms: &[(&str, &Histogram<u64>)]) -> Axes {
        let most = histograms.iter().map(|(_, histogram)| histogram.len()).max().unwrap_or(1);
        let least = histograms.iter().map(|(_, histogram)| millis(histogram.min().max(1)));
        let longest = histograms.iter().map(|(_, histogram)| millis(histogram.max().max(1)));
        let low = least.fold(f64::INFINITY, f64::min).log10().floor();
        let high = longest.fold(0.0, f64::max).log10().ceil();
        Axes { decades: (most as f64).log10().ceil().max(1.0), low, high: high.max(low + 1.0) }
    }

    /// Where the part of requests `1 - left` is.
    fn x(&self, left: f64) -> f64 {
        let decades = -left.max(10f64.powf(-self.decades)).log10();
        LEFT + (WIDTH - LEFT - RIGHT) * decades / self.decades
    }

    fn y(&self, millis: f64) -> f64 {
        let part = (millis.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }
}

/// The picture; without any latency, its frame.
pub(super) fn svg(tally: &Tally) -> String {
    let all = kinds(tally);
    let shown: Vec<_> = all.into_iter().filter(|(_, histogram)| !histogram.is_empty()).collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    if !shown.is_empty() {
        let axes = Axes::of(&shown);
        grid(&mut svg, &axes);
        for (index, (name, histogram)) in shown.iter().enumerate() {
            curve(&mut svg, &axes, index, name, histogram);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, axes: &Axes) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let mut line = |from: (f64, f64), to: (f64, f64)| {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _fits = writeln!(
            svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#ddd\"/>"
        );
    };
    let parts = || (0..=axes.decades as i32).map(|decade| (decade, 10f64.powi(-decade)));
    let times = || (axes.low as i32..=axes.high as i32).map(|decade| 10f64.powi(decade));
    parts().for_each(|(_, left)| line((axes.x(left), TOP), (axes.x(left), bottom)));
    times().for_each(|time| line((LEFT, axes.y(time)), (right, axes.y(time))));
    for (decade, left) in parts() {
        let percent = match decade {
            0 => "0 %".into(),
            1 => "90 %".into(),
            _ => format!("{:.*} %", decade as usize - 2, 100.0 - 100.0 * left),
        };
        text(svg, (axes.x(left), bottom + 18.0), "middle", &percent);
    }
    for time in times() {
        text(svg, (LEFT - 8.0, axes.y(time) + 4.0), "end", &format!("{time} ms"));
    }
    text(svg, (LEFT, 24.0), "start", "latency by percentile");
}

fn curve(svg: &mut String, axes: &Axes, index: usize, name: &str, histogram: &Histogram<u64>) {
    let color = COLORS[index % COLORS.len()];
    let steps = histogram.iter_quantiles(HALVING_POINTS);
    let points = steps.map(|step| {
        let left = 1.0 - step.quantile_iterated_to();
        format!("{:.1},{:.1}", axes.x(left), axes.y(millis(step.value_iterated_to())))
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let _fits = writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
    );
    let (x, y) = (WIDTH - RIGHT - 60.0, 24.0 - 14.0 * index as f64 + 6.0);
    let _fits = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"{color}\" \
         stroke-width=\"2\"/>",
        x - 30.0,
        x - 6.0
    );
    text(svg, (x, y + 4.0), "start", name);
}

/// Words without anything that XML reserves.
fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _fits =
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}
