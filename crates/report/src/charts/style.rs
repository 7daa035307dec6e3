//! What charts look like: colours, line styles, sizes. One colour per transport, one line style per lifecycle, so that
//! black-and-white prints keep the comparison that matters most.

use std::sync::Once;

use plotters::style::{FontStyle, register_font};
use sockrates_core::lane::{Lane, Lifecycle};

use super::scene::Dash;

/// A colour with opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ink {
    pub(crate) rgb: (u8, u8, u8),
    pub(crate) alpha: f64,
}

impl Ink {
    const fn new(r: u8, g: u8, b: u8) -> Self {
        Self {
            rgb: (r, g, b),
            alpha: 1.0,
        }
    }

    /// Makes it see-through.
    pub(crate) const fn fade(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Mixes it with white; 0 leaves it, 1 is white. Unlike [`Ink::fade`] it hides what lies below.
    pub(crate) fn lighten(self, share: f64) -> Self {
        let (r, g, b) = self.rgb;
        let mix = |channel: u8| {
            let value = f64::from(channel) + (255.0 - f64::from(channel)) * share.clamp(0.0, 1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 255 by construction"
            )]
            let channel = value.round() as u8;
            channel
        };
        Self {
            rgb: (mix(r), mix(g), mix(b)),
            alpha: self.alpha,
        }
    }
}

pub(crate) const BLACK: Ink = Ink::new(0x22, 0x22, 0x22);
pub(crate) const GREY: Ink = Ink::new(0x5f, 0x63, 0x68);
pub(crate) const GRID: Ink = Ink::new(0xe3, 0xe5, 0xe8);
pub(crate) const AXIS: Ink = Ink::new(0xa8, 0xac, 0xb2);
pub(crate) const SHADE: Ink = Ink::new(0xf2, 0xf3, 0xf5);
/// What keeping the connection gains: no transport's colour, and much lighter than the WebSocket's.
pub(crate) const REUSE: Ink = Ink::new(0xe6, 0x9f, 0x00);
pub(crate) const WHITE: Ink = Ink::new(0xff, 0xff, 0xff);

/// Sizes of the em, in logical pixels.
pub(crate) const TITLE: f64 = 20.0;
pub(crate) const SUBTITLE: f64 = 12.5;
pub(crate) const PANEL: f64 = 13.0;
pub(crate) const LABEL: f64 = 12.0;
pub(crate) const TICK: f64 = 11.0;
pub(crate) const FOOTER: f64 = 10.5;

/// The picture's width; heights follow from what is shown.
pub(crate) const WIDTH: f64 = 960.0;
/// The space left free at the picture's edges.
pub(crate) const MARGIN: f64 = 28.0;

/// The family named in SVG files. Text is laid out by the embedded `DejaVu`; Verdana has the same widths.
pub(crate) const FONT: &str = "DejaVu Sans,Verdana,sans-serif";
/// The face's ascent and descent together, per em: the unit in which bitmaps ask for their glyphs.
pub(crate) const FACE_HEIGHT: f64 = 1.164;

/// Makes the embedded face known; does nothing from the second time on.
pub(crate) fn register_fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let faces = [
            (FontStyle::Normal, dejavu::sans::regular()),
            (FontStyle::Bold, dejavu::sans::bold()),
        ];
        for (style, bytes) in faces {
            assert!(
                register_font(FONT, style, bytes).is_ok(),
                "the embedded face is a valid font"
            );
        }
    });
}

/// Returns a transport's colour, from the colour-blind-safe palette of Okabe and Ito.
pub(crate) fn ink(transport: &str) -> Ink {
    match transport {
        "tcp" => Ink::new(0x70, 0x74, 0x7a),
        "http1" => Ink::new(0xd5, 0x5e, 0x00),
        "websocket" => Ink::new(0x00, 0x72, 0xb2),
        "http2" => Ink::new(0x00, 0x9e, 0x73),
        "http3" => Ink::new(0xcc, 0x79, 0xa7),
        "webtransport" => Ink::new(0x56, 0xb4, 0xe9),
        _ => Ink::new(0xe6, 0x9f, 0x00),
    }
}

/// How a lane is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneStyle {
    pub(crate) ink: Ink,
    pub(crate) dash: Dash,
    pub(crate) marker: Marker,
    /// The width of its main line.
    pub(crate) width: f64,
}

/// The shape of a lane's points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Marker {
    /// Kept open.
    Filled,
    /// A connection per request.
    Hollow,
    /// A control lane.
    Diamond,
}

/// Returns how a lane is drawn.
pub(crate) fn of(lane: &Lane) -> LaneStyle {
    let (dash, marker) = match (&lane.client, lane.lifecycle) {
        (Some(_), _) => (Dash::Dotted, Marker::Diamond),
        (None, Lifecycle::Persistent) => (Dash::Solid, Marker::Filled),
        (None, Lifecycle::PerRequest) => (Dash::Dashed, Marker::Hollow),
    };
    LaneStyle {
        ink: ink(&lane.transport),
        dash,
        marker,
        width: if lane.transport == "tcp" { 1.8 } else { 2.4 },
    }
}
