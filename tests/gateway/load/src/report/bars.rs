//! Horizontal bars with their spread.

use std::fmt::Write;

use super::axis::Axis;
use super::escaped;
use crate::results::{Bar, Chart};

const WIDTH: f64 = 760.0;
/// Where bars begin and the longest ends; labels stand before, notes behind.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 540.0;
const ROW: f64 = 34.0;
const TOP: f64 = 10.0;

/// The SVG of a chart of bars.
pub(super) fn svg(chart: &Chart, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value.max(bar.high)).fold(0.0, f64::max);
    let axis = Axis::over(most, 5);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / axis.end;
    let bottom = TOP + ROW * bars.len() as f64;
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {}" role="img" aria-label="{}">"#,
        bottom + 46.0,
        escaped(&chart.title)
    );
    for (value, label) in axis.ticks() {
        let at = x(value);
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}"/><text class="tick" x="{at:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            bottom + 16.0
        );
    }
    for (row, bar) in bars.iter().enumerate() {
        svg.push_str(&one(bar, TOP + ROW * row as f64, x));
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text></svg>"#,
        (LEFT + RIGHT) / 2.0,
        bottom + 36.0,
        escaped(&chart.x)
    );
    svg
}

fn one(bar: &Bar, top: f64, x: impl Fn(f64) -> f64) -> String {
    let (middle, end) = (top + ROW / 2.0, x(bar.value));
    let class = if bar.ours { "ours" } else { "other" };
    let (low, high) = (x(bar.low), x(bar.high));
    let note = match bar.note.is_empty() {
        true => String::new(),
        false => format!("  {}", bar.note),
    };
    format!(
        r#"<text class="label" x="{}" y="{:.1}" text-anchor="end">{}</text><rect class="{class}" x="{LEFT}" y="{:.1}" width="{:.1}" height="20" rx="2"/><path class="spread" d="M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8"/><text class="value" x="{:.1}" y="{:.1}"><tspan class="strong">{}</tspan>{}</text>"#,
        LEFT - 8.0,
        middle + 4.0,
        escaped(&bar.label),
        middle - 10.0,
        (end - LEFT).max(0.0),
        middle - 4.0,
        middle - 4.0,
        end.max(high) + 8.0,
        middle + 4.0,
        value(bar.value),
        escaped(&note)
    )
}

fn value(value: f64) -> String {
    match value {
        large if large >= 1000.0 => crate::grouped(large.round() as u64),
        small => format!("{small:.1}"),
    }
}
