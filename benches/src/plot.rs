//! Line plots as SVG: panels side by side, GB/s upwards from zero, every curve with its name at its end.

use std::fmt::Write;

/// One set of axes.
pub struct Panel {
    /// Above it.
    pub title: String,
    /// What goes to the right.
    pub x: &'static str,
    /// Whether it doubles on the way.
    pub log: bool,
    /// What is drawn.
    pub curves: Vec<Curve>,
}

/// Points from left to right.
pub struct Curve {
    /// What it shows.
    pub name: String,
    /// x, and GB/s.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 50.0;
const TOP: f64 = 14.0;
const COLOURS: [&str; 5] = ["#1b6ca8", "#c8553d", "#588157", "#7b2d8b", "#8a6d1a"];

/// The whole picture.
pub fn svg(title: &str, panels: &[Panel]) -> String {
    let (width, height) = (panels.len() as f64 * (WIDTH + MARGIN) + MARGIN, HEIGHT + 3.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"16\">{title}</text>\n"
    );
    for (nth, panel) in panels.iter().enumerate() {
        let left = MARGIN + nth as f64 * (WIDTH + MARGIN);
        let _ = writeln!(out, "<g transform=\"translate({left},{})\">{}</g>", 1.5 * MARGIN, panel.body());
    }
    out + "</svg>\n"
}

impl Panel {
    fn body(&self) -> String {
        let mut out = format!("<text x=\"0\" y=\"-10\" font-weight=\"bold\">{}</text>", self.title);
        for speed in (0..=TOP as usize).step_by(2) {
            let y = height_of(speed as f64);
            let _ = write!(
                out,
                "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\
                 <text x=\"-6\" y=\"{}\" text-anchor=\"end\">{speed}</text>",
                y + 4.0
            );
        }
        let mut ticks: Vec<_> = self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        for tick in &ticks {
            let (x, y) = (self.place_of(*tick), HEIGHT + 16.0);
            let _ = write!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{tick}</text>");
        }
        let (x, y) = (WIDTH / 2.0, HEIGHT + 34.0);
        let _ = write!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}; upwards: GB/s</text>", self.x);
        for (curve, colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            out += &self.line(curve, colour);
        }
        out
    }

    fn line(&self, curve: &Curve, colour: &str) -> String {
        let places = curve.points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.place_of(*x), height_of(*y)));
        let mut out = format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            places.collect::<Vec<_>>().join(" ")
        );
        if let Some((x, y)) = curve.points.last() {
            let (x, y) = (self.place_of(*x) - 4.0, height_of(*y) - 6.0);
            let _ = write!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" text-anchor=\"end\">{}</text>",
                curve.name
            );
        }
        out
    }

    fn place_of(&self, x: f64) -> f64 {
        let scale = |x: f64| if self.log { x.log2() } else { x };
        let points = self.curves.iter().flat_map(|curve| &curve.points).map(|point| scale(point.0));
        let (least, most) = points.fold((f64::MAX, f64::MIN), |(least, most), x| (least.min(x), most.max(x)));
        (scale(x) - least) / (most - least).max(1.0) * WIDTH
    }
}

fn height_of(speed: f64) -> f64 {
    HEIGHT * (1.0 - speed.min(TOP) / TOP)
}
