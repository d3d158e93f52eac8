//! Plots of measured points, as SVG text: lines with marks on linear or logarithmic axes.
//!
//! Used by `scripts/loadtest` for its reports and by `scripts/bench` for how cost grows.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

/// Pixels.
const SIZE: (u32, u32) = (860, 480);
const FONT: &str = "sans-serif";
/// Colours that readers who see some of them alike can tell apart (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
    RGBColor(160, 130, 0),
];

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// By powers of ten; values must be above 0, others are left out.
    Log,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it is, with its unit.
    pub label: String,
    pub scale: Scale,
}

/// Points that belong together, in the order of their line.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

impl Axis {
    pub fn linear(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), scale: Scale::Linear }
    }

    pub fn log(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), scale: Scale::Log }
    }
}

/// One axis of either scale, in plotters' terms.
#[derive(Clone)]
struct AxisRange {
    scale: Scale,
    range: Range<f64>,
}

impl AxisRange {
    /// Room for these values.
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> AxisRange {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| shown(scale, *value)) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 1.0);
        }
        let range = match scale {
            Scale::Linear => low.min(0.0)..if high > 0.0 { high * 1.08 } else { 1.0 },
            Scale::Log => {
                let (low, high) = (mark_below(low), mark_above(high));
                low..if high > low { high } else { mark_above(low * 1.5) }
            }
        };
        AxisRange { scale, range }
    }

    fn place(&self, value: f64) -> f64 {
        let along = |value: f64| if self.scale == Scale::Log { value.max(1e-300).log10() } else { value };
        let (start, end) = (along(self.range.start), along(self.range.end));
        (along(value) - start) / (end - start)
    }
}

impl Ranged for AxisRange {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = (f64::from(limit.0), f64::from(limit.1));
        (from + (to - from) * self.place(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let most = hint.max_num_points().max(2);
        match self.scale {
            Scale::Linear => steps(&self.range, most),
            Scale::Log => decades(&self.range, most),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for AxisRange {
    fn format(value: &f64) -> String {
        number(*value)
    }
}

/// Round numbers in a range: 1, 2 or 5 times a power of ten apart.
fn steps(range: &Range<f64>, most: usize) -> Vec<f64> {
    let least = (range.end - range.start) / most as f64;
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least);
    let step = step.unwrap_or(10.0 * power);
    let first = (range.start / step).ceil() as i64;
    (first..).map(|number| number as f64 * step).take_while(|value| *value <= range.end).take(most + 1).collect()
}

/// The marks of a logarithmic axis in the power of ten of a value and next to it.
fn marks_near(value: f64) -> [f64; 6] {
    let power = 10f64.powf(value.log10().floor());
    [0.5, 1.0, 2.0, 5.0, 10.0, 20.0].map(|times| times * power)
}

fn mark_below(value: f64) -> f64 {
    marks_near(value).into_iter().rev().find(|mark| *mark <= value * (1.0 + 1e-9)).unwrap_or(value)
}

fn mark_above(value: f64) -> f64 {
    marks_near(value).into_iter().find(|mark| *mark >= value * (1.0 - 1e-9)).unwrap_or(value)
}

/// Powers of ten in a range, with 2 and 5 times them where there is room.
fn decades(range: &Range<f64>, most: usize) -> Vec<f64> {
    let (first, last) = (range.start.log10().floor() as i32, range.end.log10().ceil() as i32);
    let count = (last - first).max(1) as usize;
    let times: &[f64] = if 3 * count < most { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = count.div_ceil(most).max(1);
    let powers = (first..=last).step_by(every).map(|power| 10f64.powi(power));
    powers
        .flat_map(|power| times.iter().map(move |times| times * power))
        .filter(|value| (range.start * (1.0 - 1e-9)..=range.end * (1.0 + 1e-9)).contains(value))
        .collect()
}

/// A number as short as it goes: `1.5 M`, `200 k`, `0.05`.
pub fn number(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size => (2 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

fn shown(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale == Scale::Linear || value > 0.0)
}

impl Plot {
    /// The picture as SVG text. An error says what the drawing library says.
    pub fn to_svg(&self) -> Result<String, String> {
        let mut text = String::new();
        self.draw(&mut text).map_err(|error| format!("{}: {error}", self.title))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let all = || self.series.iter().flat_map(|series| series.points.iter().copied());
        let x = AxisRange::of(self.x.scale, all().map(|(x, _)| x));
        let y = AxisRange::of(self.y.scale, all().map(|(_, y)| y));
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(48)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .axis_desc_style((FONT, 15))
            .label_style((FONT, 13))
            .bold_line_style(BLACK.mix(0.15))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (number, series) in self.series.iter().enumerate() {
            let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or(BLACK);
            let points = || {
                let shown = |(x, y): &(f64, f64)| shown(self.x.scale, *x) && shown(self.y.scale, *y);
                series.points.iter().copied().filter(shown)
            };
            chart
                .draw_series(LineSeries::new(points(), colour.stroke_width(2)))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
            chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        if self.series.len() > 1 {
            // In the corner where the fewest points are.
            let corners = [
                (SeriesLabelPosition::UpperLeft, [false, false]),
                (SeriesLabelPosition::UpperRight, [true, false]),
                (SeriesLabelPosition::LowerLeft, [false, true]),
                (SeriesLabelPosition::LowerRight, [true, true]),
            ];
            let corner_of = |point: (f64, f64)| {
                let (x, y) = chart.backend_coord(&point);
                [x > SIZE.0 as i32 / 2, y > SIZE.1 as i32 / 2]
            };
            let points: Vec<_> = all().filter(|(x, y)| shown(self.x.scale, *x) && shown(self.y.scale, *y)).collect();
            let crowd = |corner: [bool; 2]| points.iter().filter(|point| corner_of(**point) == corner).count();
            let free = corners.into_iter().min_by_key(|(_, corner)| crowd(*corner));
            let position = free.map_or(SeriesLabelPosition::UpperLeft, |(position, _)| position);
            chart
                .configure_series_labels()
                .position(position)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font((FONT, 13))
                .draw()?;
        }
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, points: Vec<(f64, f64)>) -> Plot {
        let axis = |label: &str| Axis { label: label.into(), scale };
        Plot {
            title: "packets & <time>".into(),
            x: axis("load, Mpps"),
            y: axis("delay, us"),
            series: vec![
                Series { name: "one".into(), points },
                Series { name: "two".into(), points: vec![(2.0, 5.0)] },
            ],
        }
    }

    #[test]
    fn a_picture_has_every_point_and_escapes_what_it_is_told() {
        let svg = plot(Scale::Log, vec![(1.0, 10.0), (10.0, 1000.0)]).to_svg().expect("it can be drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("packets &amp; &lt;time&gt;") && svg.contains("delay, us"), "{svg}");
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        for points in [vec![], vec![(0.0, 0.0)], vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)], vec![(3.0, 3.0)]] {
            for scale in [Scale::Linear, Scale::Log] {
                plot(scale, points.clone()).to_svg().expect("it can be drawn");
            }
        }
    }

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(steps(&(0.0..10.8), 6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(decades(&(1.0..100.0), 12), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(decades(&(50.0..200.0), 10), [50.0, 100.0, 200.0]);
        assert_eq!((mark_below(130.0), mark_above(130.0), mark_above(100.0)), (100.0, 200.0, 100.0));
        assert_eq!(decades(&(1.0..1e6), 10), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.05, "0.05"),
            (1.5, "1.5"),
            (200.0, "200"),
            (1500.0, "1500"),
            (2e5, "200 k"),
            (1.25e6, "1.25 M"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
