//! A picture as data: marks in logical pixels. Charts make scenes, [`super::render`] turns one into SVG and PNG, and tests
//! can ask a scene whether its texts overlap.

use plotters::style::{FontDesc, FontFamily, FontStyle};

use super::style::{self, Ink};

/// A picture.
pub(crate) struct Scene {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) marks: Vec<Mark>,
}

/// A place in a picture: x to the right, y downwards.
pub(crate) type Point = (f64, f64);

/// Something drawn; later marks cover earlier ones.
pub(crate) enum Mark {
    Line {
        points: Vec<Point>,
        ink: Ink,
        width: f64,
        dash: Dash,
    },
    Area {
        points: Vec<Point>,
        ink: Ink,
    },
    Circle {
        center: Point,
        radius: f64,
        ink: Ink,
    },
    Text(Text),
}

/// How a line is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

/// A line of text, standing on its baseline.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) at: Point,
    pub(crate) size: f64,
    pub(crate) is_bold: bool,
    pub(crate) ink: Ink,
    pub(crate) anchor: Anchor,
}

/// Which end of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    pub(crate) fn width(&self) -> f64 {
        self.right - self.left
    }
}

impl Text {
    /// Returns the space the text takes.
    #[cfg(test)]
    pub(crate) fn frame(&self) -> Frame {
        let width = text_width(&self.text, self.size, self.is_bold);
        let (x, y) = self.at;
        let left = match self.anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        Frame {
            left,
            top: y - self.size * 0.76,
            right: left + width,
            bottom: y + self.size * 0.24,
        }
    }
}

impl Scene {
    pub(crate) fn line(&mut self, points: Vec<Point>, ink: Ink, width: f64, dash: Dash) {
        if points.len() > 1 {
            self.marks.push(Mark::Line {
                points,
                ink,
                width,
                dash,
            });
        }
    }

    pub(crate) fn area(&mut self, points: Vec<Point>, ink: Ink) {
        self.marks.push(Mark::Area { points, ink });
    }

    pub(crate) fn rect(&mut self, frame: Frame, ink: Ink) {
        let Frame {
            left,
            top,
            right,
            bottom,
        } = frame;
        self.area(
            vec![(left, top), (right, top), (right, bottom), (left, bottom)],
            ink,
        );
    }

    /// Draws a rectangle's edge, inside it.
    pub(crate) fn outline(&mut self, frame: Frame, ink: Ink, width: f64, dash: Dash) {
        let inset = width / 2.0;
        let (left, top) = (frame.left + inset, frame.top + inset);
        let (right, bottom) = (frame.right - inset, frame.bottom - inset);
        let corners = [
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
            (left, top),
        ];
        self.line(corners.to_vec(), ink, width, dash);
    }

    pub(crate) fn circle(&mut self, center: Point, radius: f64, ink: Ink) {
        self.marks.push(Mark::Circle {
            center,
            radius,
            ink,
        });
    }

    pub(crate) fn text(
        &mut self,
        text: impl Into<String>,
        at: Point,
        size: f64,
        ink: Ink,
        anchor: Anchor,
    ) {
        self.push_text(text.into(), at, size, false, ink, anchor);
    }

    pub(crate) fn bold(
        &mut self,
        text: impl Into<String>,
        at: Point,
        size: f64,
        ink: Ink,
        anchor: Anchor,
    ) {
        self.push_text(text.into(), at, size, true, ink, anchor);
    }

    fn push_text(
        &mut self,
        text: String,
        at: Point,
        size: f64,
        is_bold: bool,
        ink: Ink,
        anchor: Anchor,
    ) {
        self.marks.push(Mark::Text(Text {
            text,
            at,
            size,
            is_bold,
            ink,
            anchor,
        }));
    }
}

/// Returns the width of a text in the embedded face.
pub(crate) fn text_width(text: &str, size: f64, is_bold: bool) -> f64 {
    // The layout returns whole pixels, so it is asked at a size where those are small.
    const EM: f64 = 100.0;
    style::register_fonts();
    let style = if is_bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    let font = FontDesc::new(
        FontFamily::Name(style::FONT),
        EM * style::FACE_HEIGHT,
        style,
    );
    let (width, _) = font.box_size(text).unwrap_or((0, 0));
    f64::from(width) / EM * size
}
