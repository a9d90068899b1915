//! Two kinds of plots, written as SVG: lines over logarithmic axes, and horizontal bars.

use std::fmt::Write;

/// Width of a plot in pixels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
/// Where lines and bars end; behind it stand names and numbers.
const RIGHT: f64 = 680.0;
/// Height of a line's field.
const FIELD: f64 = 440.0;
/// From one line of text to the next.
const STEP: f64 = 16.0;

/// Of the others, which are told apart by their names at the lines' ends as well.
const COLOURS: [&str; 8] =
    ["#4878a8", "#6a9f58", "#967662", "#85629c", "#5f9ea0", "#8a8a8a", "#b07aa1", "#a3a030"];
/// Of ours.
const OWN: [&str; 4] = ["#d1410c", "#e8762c", "#f0a04b", "#c9302c"];

/// A contender's line.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Drawn so that it stands out.
    pub(super) own: bool,
    /// From left to right; both numbers greater than 0.
    pub(super) points: Vec<(f64, f64)>,
}

/// A contender's bar.
pub(super) struct Bar {
    pub(super) name: &'static str,
    /// Drawn so that it stands out.
    pub(super) own: bool,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// Lines over two logarithmic axes.
pub(super) fn lines(title: &str, across: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x = Axis::over(points().map(|point| point.0), LEFT, RIGHT);
    let y = Axis::over(points().map(|point| point.1), TOP + FIELD, TOP);
    let mut svg = begin(title, TOP + FIELD + 50.0);
    for tick in x.ticks() {
        let at = x.at(tick);
        rule(&mut svg, [at, TOP, at, TOP + FIELD]);
        text(&mut svg, at, TOP + FIELD + STEP, "middle", &tick.to_string());
    }
    for tick in y.ticks() {
        let at = y.at(tick);
        rule(&mut svg, [LEFT, at, RIGHT, at]);
        text(&mut svg, LEFT - 6.0, at + 4.0, "end", &tick.to_string());
    }
    text(&mut svg, f64::midpoint(LEFT, RIGHT), TOP + FIELD + 2.2 * STEP, "middle", across);
    let mut names: Vec<(f64, f64, &Line, &str)> = Vec::new();
    for (line, colour) in lines.iter().zip(colours(lines.iter().map(|line| line.own))) {
        let path: Vec<String> =
            line.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py))).collect();
        let (width, path) = (if line.own { 3 } else { 1 }, path.join(" "));
        let _ = writeln!(
            svg,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>"#
        );
        for (px, py) in &line.points {
            let _ = writeln!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="{}" fill="{colour}"/>"#,
                x.at(*px),
                y.at(*py),
                width + 1
            );
        }
        if let Some((px, py)) = line.points.last() {
            names.push((x.at(*px), y.at(*py), line, colour));
        }
    }
    names.sort_by(|one, other| one.1.total_cmp(&other.1));
    let heights = apart(&names.iter().map(|name| name.1).collect::<Vec<_>>(), TOP + FIELD);
    for ((px, py, line, colour), height) in names.iter().zip(heights) {
        let _ = writeln!(
            svg,
            r#"<line x1="{px:.1}" y1="{py:.1}" x2="{}" y2="{height:.1}" stroke="{colour}" stroke-width="0.5" stroke-dasharray="2 3"/>"#,
            RIGHT + 12.0
        );
        coloured(&mut svg, RIGHT + 16.0, height + 4.0, colour, line.own, line.name);
    }
    svg + "</svg>\n"
}

/// Horizontal bars from zero, each with its value and its spread.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const NAMES: f64 = 300.0;
    const HEIGHT: f64 = 24.0;
    let longest = bars.iter().map(|bar| bar.most).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let scale = (RIGHT - NAMES) / longest;
    let mut svg = begin(title, TOP + HEIGHT * bars.len() as f64 + 20.0);
    for (number, (bar, colour)) in bars.iter().zip(colours(bars.iter().map(|bar| bar.own))).enumerate() {
        let top = TOP + HEIGHT * number as f64;
        let middle = top + HEIGHT / 2.0;
        let length = bar.value * scale;
        text(&mut svg, NAMES - 8.0, middle + 4.0, "end", bar.name);
        let _ = writeln!(
            svg,
            r#"<rect x="{NAMES}" y="{:.1}" width="{length:.1}" height="{:.1}" fill="{colour}"/>"#,
            top + 3.0,
            HEIGHT - 6.0
        );
        let _ = writeln!(
            svg,
            r##"<line x1="{:.1}" y1="{middle:.1}" x2="{:.1}" y2="{middle:.1}" stroke="#222222"/>"##,
            NAMES + bar.least * scale,
            NAMES + bar.most * scale
        );
        let value = format!("{} ({} to {})", short(bar.value), short(bar.least), short(bar.most));
        text(&mut svg, NAMES + bar.most * scale + 8.0, middle + 4.0, "start", &value);
    }
    svg + "</svg>\n"
}

/// A number with three digits that tell something.
fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A logarithmic axis from one power of ten to another.
struct Axis {
    /// The powers.
    from: f64,
    to: f64,
    /// Where they are in the plot.
    begin: f64,
    end: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, begin: f64, end: f64) -> Self {
        let usable = values.filter(|value| value.is_finite() && *value > 0.0);
        let least = usable.clone().fold(f64::INFINITY, f64::min);
        let most = usable.fold(0.0, f64::max);
        if most == 0.0 {
            return Self { from: 0.0, to: 1.0, begin, end };
        }
        let from = least.log10().floor();
        Self { from, to: most.log10().ceil().max(from + 1.0), begin, end }
    }

    fn at(&self, value: f64) -> f64 {
        self.begin + (value.log10() - self.from) / (self.to - self.from) * (self.end - self.begin)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|power| 10_f64.powi(power))
    }
}

/// Moves sorted heights down, and then up from the bottom, so that lines of text do not meet.
fn apart(heights: &[f64], bottom: f64) -> Vec<f64> {
    let mut moved = heights.to_vec();
    for at in 1..moved.len() {
        moved[at] = moved[at].max(moved[at - 1] + STEP);
    }
    let mut limit = bottom;
    for height in moved.iter_mut().rev() {
        *height = height.min(limit);
        limit = *height - STEP;
    }
    moved
}

/// A colour for each.
fn colours(own: impl Iterator<Item = bool>) -> impl Iterator<Item = &'static str> {
    let (mut ours, mut others) = (OWN.iter().cycle(), COLOURS.iter().cycle());
    own.map(move |own| if own { ours.next() } else { others.next() }.copied().unwrap_or("#000000"))
}

fn begin(title: &str, height: f64) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
"##
    );
    coloured(&mut svg, LEFT, TOP - 20.0, "#222222", true, title);
    svg
}

fn rule(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ =
        writeln!(svg, r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#dddddd"/>"##);
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = writeln!(
        svg,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#222222">{}</text>"##,
        escaped(content)
    );
}

fn coloured(svg: &mut String, x: f64, y: f64, colour: &str, bold: bool, content: &str) {
    let weight = if bold { "bold" } else { "normal" };
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}" font-weight="{weight}">{}</text>"#,
        escaped(content)
    );
}

fn escaped(content: &str) -> String {
    content.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::{Axis, Bar, Line, STEP, apart, bars, lines};

    #[test]
    fn an_axis_spans_powers_of_ten() {
        let axis = Axis::over([87.0, 1_550_000.0].into_iter(), 400.0, 0.0);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7]);
        assert_eq!((axis.at(10.0), axis.at(1e7)), (400.0, 0.0));
        // Of a single power, too.
        assert_eq!(Axis::over([10.0].into_iter(), 0.0, 1.0).ticks().count(), 2);
    }

    #[test]
    fn names_do_not_meet() {
        let moved = apart(&[0.0, 1.0, 2.0, 100.0, 101.0], 110.0);
        assert!(moved.windows(2).all(|pair| pair[1] - pair[0] >= STEP), "{moved:?}");
        assert_eq!(moved[4], 110.0);
    }

    #[test]
    fn plots_hold_every_name_and_no_nonsense() {
        let line = |name, own| Line { name, own, points: vec![(10.0, 90.0), (1e5, 120.0)] };
        let plot = lines("a < b & c", "rules", &[line("ours", true), line("theirs", false)]);
        assert!(plot.contains("a &lt; b &amp; c") && plot.contains(">ours<") && plot.contains(">theirs<"));
        let bar = Bar { name: "ours", own: true, value: 7.2, least: 7.0, most: 7.4 };
        let plot = bars("Mpps", &[bar]);
        assert!(plot.contains("7.20 (7.00 to 7.40)"));
        assert!(!plot.contains("NaN") && !plot.contains("inf"));
    }
}
