//! One small panel for each story: how many clients are served, time after time. Plain SVG by hand; it needs nothing to be drawn with.

use std::fmt::Write;
use std::time::Duration;

use super::report::Report;

const COLUMNS: usize = 3;
const PANEL: [f64; 2] = [320.0, 200.0];
/// Of the curve within its panel: left, top, width, height.
const PLOT: [f64; 4] = [58.0, 34.0, 246.0, 132.0];

/// More points than this are not seen.
const POINTS_MAX: usize = 400;

const STYLE: &str = "text{font:11px sans-serif;fill:#333}.title{font-weight:bold}.right{text-anchor:end}\
    .curve{fill:none;stroke:#1668a8;stroke-width:1.5}.frame{fill:#f7f9fb;stroke:#c5ced6}";

pub fn draw(reports: &[Report]) -> String {
    let rows = reports.len().div_ceil(COLUMNS);
    let [width, height] = [PANEL[0] * COLUMNS as f64, PANEL[1] * rows as f64];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (nth, report) in reports.iter().enumerate() {
        let [x, y] = [PANEL[0] * (nth % COLUMNS) as f64, PANEL[1] * (nth / COLUMNS) as f64];
        let panel = panel(report);
        // Writing to a text cannot fail.
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">\n{panel}</g>");
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(report: &Report) -> String {
    let [left, top, width, height] = PLOT;
    let (right, bottom) = (left + width, top + height);
    let least = lower_bound(report);
    let end = report.curve.last().map_or(1.0, |(at, _)| at.as_secs_f64());
    let took = report.took.as_secs_f64();
    let title = report.scenario.name();
    let result = format!("{took:.1} s, {:.2} x floor", report.times_floor());
    let points = points(&report.curve, f64::from(least), f64::from(report.clients), end);
    format!(
        "<text class=\"title\" x=\"{left}\" y=\"22\">{title}</text>\n\
         <rect class=\"frame\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\n\
         <polyline class=\"curve\" points=\"{points}\"/>\n\
         <text class=\"right\" x=\"{label}\" y=\"{high}\">{clients}</text>\n\
         <text class=\"right\" x=\"{label}\" y=\"{bottom}\">{least}</text>\n\
         <text x=\"{left}\" y=\"{below}\">0 s</text>\n\
         <text class=\"right\" x=\"{right}\" y=\"{below}\">{end:.0} s</text>\n\
         <text class=\"right\" x=\"{inside}\" y=\"{lowest}\">{result}</text>\n",
        label = left - 5.0,
        high = top + 9.0,
        clients = report.clients,
        below = bottom + 15.0,
        inside = right - 6.0,
        lowest = bottom - 7.0,
    )
}

/// A broker of fifty would be a line's width if every panel began at nobody.
fn lower_bound(report: &Report) -> u32 {
    let least = report.curve.iter().map(|(_, served)| *served).min().unwrap_or_default();
    let gap = report.clients - least.min(report.clients);
    report.clients - (gap + gap / 4).clamp(1, report.clients.max(1))
}

fn points(curve: &[(Duration, u32)], least: f64, most: f64, end: f64) -> String {
    let [left, top, width, height] = PLOT;
    let each = curve.len().div_ceil(POINTS_MAX).max(1);
    let deepest = curve.chunks(each).filter_map(|chunk| chunk.iter().min_by_key(|(_, served)| *served));
    let place = |(at, served): &(Duration, u32)| {
        let x = left + width * at.as_secs_f64() / end.max(f64::MIN_POSITIVE);
        let y = top + height * (most - f64::from(*served)) / (most - least).max(1.0);
        format!("{x:.1},{y:.1}")
    };
    deepest.map(place).collect::<Vec<_>>().join(" ")
}
