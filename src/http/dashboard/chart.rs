//! Bars over time as SVG, drawn by `plotters`. A page has them twice: wide, and narrow for small screens, where the wide one's
//! letters would be too small. Style sheets give the colors, by the kinds of elements.

use std::fmt::Write as _;

use billing::Nanos;
use plotters::prelude::{
    BLACK, ChartBuilder, Color as _, DrawingAreaErrorKind, IntoDrawingArea as _, IntoFont as _, Rectangle, SVGBackend,
    TRANSPARENT,
};

/// The time that a bar is of, and its amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    /// The time in full, which the bar is named by.
    pub(super) at: String,
    /// The time in short, which stands at the axis.
    pub(super) short: String,
    /// The amount.
    pub(super) cost: Nanos,
}

/// The same chart in two sizes, each a whole `<svg>`.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// For screens of a usual width.
    pub(super) large: String,
    /// For narrow screens.
    pub(super) small: String,
}

struct Size {
    class: &'static str,
    width: u32,
    height: u32,
    /// The most times at the axis.
    times: usize,
    /// Whether bars are named when a pointer is above them: a narrow screen's is a finger.
    has_names: bool,
}

const LARGE: Size = Size { class: "large", width: 1_000, height: 220, times: 10, has_names: true };
const SMALL: Size = Size { class: "small", width: 340, height: 200, times: 4, has_names: false };
/// The room of a letter at the axis, and that of times below it.
const LETTER: usize = 8;
const BELOW: u32 = 28;
/// `plotters` sizes a font by its line: this is 12 pixels of letters.
const LETTERS: f64 = 15.0;

impl Chart {
    /// The chart of bars, one for each time of a range; `None` where nothing was spent. `says` is read to those who don't see it.
    pub(super) fn of(bars: &[Bar], says: &str) -> Option<Self> {
        let most = bars.iter().map(|bar| bar.cost).max().filter(|most| most.is_positive())?;
        let drawn = |size| drawn(bars, most, says, size);
        match (drawn(&LARGE), drawn(&SMALL)) {
            (Ok(large), Ok(small)) => Some(Self { large, small }),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "a chart can't be drawn");
                None
            }
        }
    }
}

/// An amount as a coordinate: `plotters` looks for round numbers beyond the largest one.
fn amount(of: Nanos) -> i128 {
    of.get().into()
}

/// The room of amounts at the axis, the longest of which has as many decimals as a fifth of the largest one.
fn left(most: Nanos) -> u32 {
    let step = 10_i64.pow((most.get() / 5).checked_ilog10().unwrap_or(0));
    let letters = [most.get() - most.get() % step, step].map(|amount| format!("${}", Nanos::new(amount)).len());
    u32::try_from((letters[0].max(letters[1]) + 1) * LETTER).unwrap_or(u32::MAX)
}

fn drawn(bars: &[Bar], most: Nanos, says: &str, size: &Size) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let Size { class, width, height, times, has_names } = *size;
    let mut image = String::new();
    let mut names = String::new();
    {
        let root = SVGBackend::with_string(&mut image, (width, height)).into_drawing_area();
        let mut builder = ChartBuilder::on(&root);
        builder.margin(8).y_label_area_size(left(most)).x_label_area_size(BELOW);
        let mut chart = builder.build_cartesian_2d(0..bars.len(), 0..amount(most))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(1)
            .light_line_style(TRANSPARENT)
            .x_labels(times)
            .y_labels(5)
            .x_label_formatter(&|place| bars.get(*place).map(|bar| bar.short.clone()).unwrap_or_default())
            .y_label_formatter(&|amount| format!("${}", Nanos::new(i64::try_from(*amount).unwrap_or(i64::MAX))))
            .label_style(("sans-serif", LETTERS).into_font().color(&BLACK))
            .draw()?;
        // An amount is seen, however little it is.
        let least = 2 * amount(most) / i128::from(height) + 1;
        let spent = || bars.iter().enumerate().filter(|(_, bar)| bar.cost.is_positive());
        chart.draw_series(spent().map(|(place, bar)| {
            let mut drawn = Rectangle::new([(place, 0), (place + 1, amount(bar.cost).max(least))], BLACK.filled());
            drawn.set_margin(0, 0, 1, 1);
            drawn
        }))?;
        for (place, bar) in spent().filter(|_| has_names) {
            let (left, top) = chart.plotting_area().map_coordinate(&(place, amount(most)));
            let (right, foot) = chart.plotting_area().map_coordinate(&(place + 1, 0));
            // Writing to a string does not fail.
            let _ = write!(
                names,
                "<rect class=\"name\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\"><title>{}: ${}</title></rect>",
                right - left,
                foot - top,
                bar.at,
                bar.cost,
            );
        }
        root.present()?;
    }
    // The image's first tag has a fixed size, and its last one ends it.
    let inside = image.split_once('>').map_or("", |(_, inside)| inside);
    let inside = inside.rsplit_once("</svg>").map_or(inside, |(inside, _)| inside);
    Ok(format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{says}\">{inside}{names}</svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(costs: &[i64]) -> Vec<Bar> {
        let bar = |(day, cost): (usize, &i64)| Bar {
            at: format!("2026-11-{:02}", day + 1),
            short: format!("11-{:02}", day + 1),
            cost: Nanos::new(*cost),
        };
        costs.iter().enumerate().map(bar).collect()
    }

    /// The heights of the bars that are drawn, in their order.
    fn heights(image: &str) -> Vec<i32> {
        let bars = image.split("<rect ").skip(1).filter(|rect| !rect.contains("class="));
        let height = |rect: &str| rect.split("height=\"").nth(1)?.split('"').next()?.parse().ok();
        bars.filter_map(height).collect()
    }

    #[test]
    fn bars_are_as_high_as_their_days_cost() {
        let chart = Chart::of(&bars(&[2_000_000_000, 0, 1_000_000_000, 1]), "Dollars by day").unwrap();
        for image in [&chart.large, &chart.small] {
            let &[whole, half, least] = heights(image).as_slice() else { panic!("{image}") };
            assert!((whole / 2 - half).abs() <= 1 && (1..=2).contains(&least), "{whole} {half} {least}");
            assert!(image.contains("11-01") && image.contains("$2.00") && image.contains("$0.00"), "{image}");
            assert!(image.contains("aria-label=\"Dollars by day\"") && image.ends_with("</svg>"), "{image}");
            assert_eq!(image.matches("<svg").count(), 1);
        }
        assert!(chart.large.contains("<title>2026-11-03: $1.00</title>") && !chart.small.contains("<title>"));
        assert!(!chart.large.contains("2026-11-02"), "nothing was spent then");
    }

    #[test]
    fn amounts_at_the_axis_have_room() {
        for most in [1, 7, 4_743, 999_999, 1_000_000_000, 123_456_789_012, i64::MAX] {
            let chart = Chart::of(&bars(&[most]), "").unwrap();
            let room = left(Nanos::new(most));
            for amount in chart.large.split('>').filter(|text| text.trim_start().starts_with('$')) {
                let letters = amount.split('<').next().unwrap().trim().len();
                assert!(letters * 7 <= room as usize, "{amount} in {room}");
            }
        }
    }

    #[test]
    fn the_least_and_the_most_are_drawn_and_nothing_is_not() {
        assert!(Chart::of(&[], "").is_none() && Chart::of(&bars(&[0, 0]), "").is_none());
        for costs in [&[1][..], &[i64::MAX, 1], &[i64::MAX; 120]] {
            let chart = Chart::of(&bars(costs), "Dollars by day").unwrap();
            assert_eq!(heights(&chart.large).len(), costs.len());
        }
    }
}
