//! Scenes to files. Both formats get the same calls; the back ends know whole numbers only, so a logical pixel has four
//! steps in SVG and two in PNG.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color, FontDesc, FontFamily, FontStyle, IntoTextStyle, RGBAColor, ShapeStyle,
};

use super::scene::{Anchor, Dash, Mark, Point, Scene, Text};
use super::style::{self, Ink};

/// Steps per logical pixel in an SVG file.
const SVG_SCALE: f64 = 4.0;
/// Pixels per logical pixel in a PNG file: sharp on dense screens and in print.
const PNG_SCALE: f64 = 2.0;

/// How a back end takes texts: what it multiplies the em with, and where it puts the baseline.
#[derive(Clone, Copy)]
struct Device {
    scale: f64,
    size_per_em: f64,
    baseline_per_em: f64,
}

/// plotters divides the size by 1.24 to get the em, and moves a text anchored at its top down by 0.76 em.
const SVG: Device = Device {
    scale: SVG_SCALE,
    size_per_em: 1.24,
    baseline_per_em: 0.76,
};
/// plotters takes the size for the face's height, and puts the baseline at half of it.
const PNG: Device = Device {
    scale: PNG_SCALE,
    size_per_em: style::FACE_HEIGHT,
    baseline_per_em: style::FACE_HEIGHT / 2.0,
};

/// Returns the scene as a stand-alone SVG file that begins with a comment. The comment must not hold `--`.
pub(crate) fn svg(scene: &Scene, comment: &str) -> anyhow::Result<String> {
    let size = pixels(scene, SVG_SCALE);
    let mut svg = String::new();
    draw(scene, SVGBackend::with_string(&mut svg, size), SVG)?;
    let body = svg.find('>').context("an SVG file has a first tag")?;
    let (width, height) = (scene.width, scene.height);
    // Same coordinates, displayed at the logical size, and smaller where the page is narrow.
    let head = format!(
        "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {} {}\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <!-- {comment} -->",
        size.0, size.1
    );
    Ok(format!("{head}{}", &svg[body + 1..]))
}

/// Returns the scene as a PNG file. The back end can only write to a path, so it gets one beside the final `path`.
pub(crate) fn png(scene: &Scene, path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path
        .file_name()
        .context("a chart has a name")?
        .to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.part.png", std::process::id()));
    let drawn = draw(
        scene,
        BitMapBackend::new(&temporary, pixels(scene, PNG_SCALE)),
        PNG,
    );
    let png = drawn.and_then(|()| Ok(fs::read(&temporary)?));
    // Nothing can be done about a failing clean-up; the first error is the one to report.
    let _ = fs::remove_file(&temporary);
    png
}

fn draw<B: DrawingBackend>(scene: &Scene, mut backend: B, device: Device) -> anyhow::Result<()> {
    style::register_fonts();
    let (right, bottom) = pixels(scene, device.scale);
    let corner = (i32::try_from(right)?, i32::try_from(bottom)?);
    backend
        .draw_rect((0, 0), corner, &shape(style::WHITE, 1), true)
        .map_err(failed)?;
    for mark in &scene.marks {
        draw_mark(&mut backend, mark, device)?;
    }
    backend.present().map_err(failed)
}

fn draw_mark<B: DrawingBackend>(
    backend: &mut B,
    mark: &Mark,
    device: Device,
) -> anyhow::Result<()> {
    let scale = device.scale;
    match mark {
        Mark::Area { points, ink } => backend
            .fill_polygon(steps(points, scale), &shape(*ink, 1))
            .map_err(failed),
        Mark::Circle {
            center,
            radius,
            ink,
        } => {
            let radius = whole(radius * scale).unsigned_abs();
            backend
                .draw_circle(step(*center, scale), radius, &shape(*ink, 1), true)
                .map_err(failed)
        }
        Mark::Line {
            points,
            ink,
            width,
            dash,
        } => {
            let stroke = shape(*ink, whole(width * scale).unsigned_abs().max(1));
            for part in dashes(points, *dash, *width) {
                let part = steps(&part, scale);
                if part.len() > 1 {
                    backend.draw_path(part, &stroke).map_err(failed)?;
                }
            }
            Ok(())
        }
        Mark::Text(text) => draw_text(backend, text, device),
    }
}

fn draw_text<B: DrawingBackend>(
    backend: &mut B,
    text: &Text,
    device: Device,
) -> anyhow::Result<()> {
    let em = text.size * device.scale;
    let font_style = if text.is_bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    let font = FontDesc::new(
        FontFamily::Name(style::FONT),
        em * device.size_per_em,
        font_style,
    );
    let anchor = match text.anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let color = color(text.ink);
    let mut style = font.into_text_style(&(0, 0)).color(&color);
    style.pos = Pos::new(anchor, VPos::Top);
    let (x, y) = text.at;
    let top = y * device.scale - em * device.baseline_per_em;
    let place = (whole(x * device.scale), whole(top));
    backend.draw_text(&text.text, &style, place).map_err(failed)
}

/// Back ends have errors of their own; none of them can be acted upon.
fn failed(error: impl Debug) -> anyhow::Error {
    anyhow!("draw a chart: {error:?}")
}

fn color(ink: Ink) -> RGBAColor {
    let (r, g, b) = ink.rgb;
    RGBAColor(r, g, b, ink.alpha)
}

fn shape(ink: Ink, stroke_width: u32) -> ShapeStyle {
    ShapeStyle {
        color: color(ink).to_rgba(),
        filled: true,
        stroke_width,
    }
}

fn pixels(scene: &Scene, scale: f64) -> (u32, u32) {
    let side = |length: f64| whole(length * scale).unsigned_abs();
    (side(scene.width), side(scene.height))
}

fn step((x, y): Point, scale: f64) -> (i32, i32) {
    (whole(x * scale), whole(y * scale))
}

/// Rounds a line's points, and drops those that fall together: the bitmap back end cannot join them.
fn steps(points: &[Point], scale: f64) -> Vec<(i32, i32)> {
    let mut steps: Vec<_> = points.iter().map(|point| step(*point, scale)).collect();
    steps.dedup();
    steps
}

/// Rounds; far outside the picture is as good as anywhere outside.
fn whole(value: f64) -> i32 {
    const FAR: f64 = 1e5;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "clamped to far less than 2^31; NaN is 0"
    )]
    let whole = value.clamp(-FAR, FAR).round() as i32;
    whole
}

/// Cuts a line into the parts that are drawn.
fn dashes(points: &[Point], dash: Dash, width: f64) -> Vec<Vec<Point>> {
    let (on, off) = match dash {
        Dash::Solid => return vec![points.to_vec()],
        Dash::Dashed => (width * 1.5 + 4.0, width + 2.0),
        Dash::Dotted => (width.max(1.2), width + 1.6),
    };
    let mut parts = Vec::new();
    let mut part = vec![points[0]];
    let (mut is_on, mut left) = (true, on);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let distance = (to.0 - from.0).hypot(to.1 - from.1);
            if !distance.is_finite() || distance <= left {
                left -= distance;
                part.push(to);
                break;
            }
            let share = left / distance;
            from = (
                from.0 + (to.0 - from.0) * share,
                from.1 + (to.1 - from.1) * share,
            );
            part.push(from);
            let done = std::mem::replace(&mut part, vec![from]);
            if is_on {
                parts.push(done);
            }
            is_on = !is_on;
            left = if is_on { on } else { off };
        }
    }
    if is_on {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_a_line_from_its_start_without_passing_its_end() {
        let parts = dashes(&[(0.0, 0.0), (30.0, 0.0), (30.0, 20.0)], Dash::Dashed, 2.0);
        assert_eq!(parts[0], [(0.0, 0.0), (7.0, 0.0)]);
        assert_eq!(parts[1][0], (11.0, 0.0));
        assert!(
            parts
                .iter()
                .flatten()
                .all(|(x, y)| *x <= 30.0 && *y <= 20.0)
        );
    }
}
