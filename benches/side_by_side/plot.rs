//! Curves as a picture: panels with two logarithmic axes, two beside each other.

use plotters::prelude::*;

use crate::Failure;

/// Pixels of a panel, and of the names below its title.
const PANEL: (u32, u32) = (560, 340);
const NAME: (i32, i32) = (74, 16);

/// What one input takes, by what grows.
pub struct Curve {
    pub name: &'static str,
    /// Red, green and blue.
    pub color: (u8, u8, u8),
    pub points: Vec<(f64, f64)>,
}

/// Curves over one axis.
pub struct Panel {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub curves: Vec<Curve>,
}

impl Panel {
    /// The least and the most of all points, by what `of` takes of one.
    fn range(&self, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let points = self.curves.iter().flat_map(|curve| &curve.points).map(of);
        points.fold((f64::INFINITY, 0.0), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    }
}

/// The panels as SVG.
pub fn draw(panels: &[Panel]) -> Result<String, Failure> {
    let mut svg = String::new();
    let rows = panels.len().div_ceil(2);
    {
        let size = (2 * PANEL.0, PANEL.1 * u32::try_from(rows)?);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        for (area, panel) in root.split_evenly((rows, 2)).iter().zip(panels) {
            draw_panel(area, panel).map_err(|error| error.to_string())?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_panel(area: &Area<'_>, panel: &Panel) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let (x, y) = (panel.range(|point| point.0), panel.range(|point| point.1));
    let decades = |(least, most): (f64, f64)| {
        10f64.powf(least.log10().floor())..10f64.powf(most.log10().ceil())
    };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d((x.0 * 0.8..x.1 * 1.25).log_scale(), decades(y).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.05))
        .bold_line_style(BLACK.mix(0.15))
        .x_desc(panel.x)
        .y_desc(panel.y)
        .x_label_formatter(&|value| figure(*value))
        .y_label_formatter(&|value| figure(*value))
        .draw()?;
    for curve in &panel.curves {
        let color = color_of(curve);
        let points = || curve.points.iter().copied();
        chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
        chart.draw_series(points().map(|point| Circle::new(point, 3, color.filled())))?;
    }
    for (row, curve) in (0..).zip(&panel.curves) {
        let y = 44 + row * NAME.1;
        let color = color_of(curve).stroke_width(2);
        area.draw(&PathElement::new([(NAME.0, y), (NAME.0 + 16, y)], color))?;
        let text = Text::new(curve.name, (NAME.0 + 22, y - 6), ("sans-serif", 12));
        area.draw(&text)?;
    }
    Ok(())
}

fn color_of(curve: &Curve) -> RGBColor {
    let (red, green, blue) = curve.color;
    RGBColor(red, green, blue)
}

/// `0.1`, `20`, `10k`.
fn figure(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{}M", large / 1e6),
        large if large >= 1e3 => format!("{}k", large / 1e3),
        small => format!("{small}"),
    }
}
