//! Curves over an axis from 0.

use std::fmt::Write;

use super::axis::Axis;
use super::escaped;
use crate::results::{Chart, Line, Style};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 64.0;
/// Curves end here; their names stand behind.
const RIGHT: f64 = 600.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 274.0;
/// Between two names.
const GAP: f64 = 17.0;

/// The SVG of a chart of curves.
pub(super) fn svg(chart: &Chart, lines: &[Line]) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| {
        let points = lines.iter().flat_map(|line| &line.points);
        points.map(of).fold(0.0, f64::max)
    };
    let (across, up) = (
        Axis::to(most(|point| point.0), 5),
        Axis::over(most(|point| point.1), 5),
    );
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / across.end;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / up.end;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {}" role="img" aria-label="{}">"#,
        BOTTOM + 48.0,
        escaped(&chart.title)
    );
    grid(&mut svg, &across, &up, x, y);
    for line in lines {
        curve(&mut svg, line, x, y);
    }
    names(&mut svg, lines, y);
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        r#"<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text><text class="axis" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text></svg>"#,
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 38.0,
        escaped(&chart.x),
        (TOP + BOTTOM) / 2.0,
        escaped(&chart.y)
    );
    svg
}

fn grid(svg: &mut String, across: &Axis, up: &Axis, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    for (value, label) in up.ticks() {
        let at = y(value);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}"/><text class="tick" x="{}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (value, label) in across.ticks() {
        let _ = write!(
            svg,
            r#"<text class="tick" x="{:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            x(value),
            BOTTOM + 17.0
        );
    }
}

fn class(style: Style) -> &'static str {
    match style {
        Style::Ours => "line c-ours",
        Style::OursToo => "line c-ours too",
        Style::Other => "line c-other",
        Style::OtherToo => "line c-other too",
        Style::Limit => "line c-limit",
    }
}

fn curve(svg: &mut String, line: &Line, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    let points: Vec<String> = line
        .points
        .iter()
        .map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up)))
        .collect();
    let class = class(line.style);
    let _ = write!(
        svg,
        r#"<polyline class="{class}" points="{}"/>"#,
        points.join(" ")
    );
}

/// Puts the names where the curves end, but never on top of each other.
fn names(svg: &mut String, lines: &[Line], y: impl Fn(f64) -> f64) {
    let ends = lines
        .iter()
        .filter_map(|line| Some((y(line.points.last()?.1), line)));
    let mut placed: Vec<(f64, f64, &Line)> = ends.map(|(end, line)| (end, end, line)).collect();
    placed.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut lowest = TOP - GAP;
    for (at, ..) in &mut placed {
        *at = at.max(lowest + GAP);
        lowest = *at;
    }
    let mut highest = BOTTOM + GAP;
    for (at, ..) in placed.iter_mut().rev() {
        *at = at.min(highest - GAP);
        highest = *at;
    }
    for (at, end, line) in placed {
        let _ = write!(
            svg,
            r#"<path class="{} leader" d="M{} {end:.1}L{} {at:.1}"/><text class="label" x="{}" y="{:.1}">{}</text>"#,
            class(line.style),
            RIGHT + 2.0,
            RIGHT + 16.0,
            RIGHT + 20.0,
            at + 4.0,
            escaped(&line.label)
        );
    }
}
