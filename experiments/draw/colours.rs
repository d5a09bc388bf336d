//! Colours of the papers' figures, and maps from a number between 0 and 1 to a colour.

use plotters::style::RGBColor;

/// A colour without transparency: what is to stand back is mixed with white instead, and where lines cross nothing darkens.
pub type Colour = RGBColor;

/// Black.
pub const BLACK: Colour = RGBColor(0, 0, 0);

/// Colours that everybody can tell apart (Okabe & Ito 2008), yellow left out: it is too light for a line.
pub const CLEARLY_APART: [Colour; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// ColorBrewer's `Dark2`, in which the paper draws heads.
pub const DARK: [Colour; 8] = [
    RGBColor(27, 158, 119),
    RGBColor(217, 95, 2),
    RGBColor(117, 112, 179),
    RGBColor(231, 41, 138),
    RGBColor(102, 166, 30),
    RGBColor(230, 171, 2),
    RGBColor(166, 118, 29),
    RGBColor(102, 102, 102),
];

/// A colour mixed with white: 0 is white, 1 the colour itself.
pub fn faded(colour: Colour, strength: f64) -> Colour {
    between(RGBColor(255, 255, 255), colour, strength)
}

/// From cyan to magenta (matplotlib's `cool`).
pub fn cool(value: f64) -> Colour {
    between(RGBColor(0, 255, 255), RGBColor(255, 0, 255), value)
}

/// From blue over white to red (matplotlib's `bwr`).
pub fn blue_white_red(value: f64) -> Colour {
    along(&[RGBColor(0, 0, 255), RGBColor(255, 255, 255), RGBColor(255, 0, 0)], value)
}

/// From blue over grey to red (after matplotlib's `coolwarm`).
pub fn cool_warm(value: f64) -> Colour {
    let stops = [RGBColor(59, 76, 192), RGBColor(141, 176, 254), RGBColor(221, 221, 221), RGBColor(244, 152, 122), RGBColor(180, 4, 38)];
    along(&stops, value)
}

/// From dark violet over green to yellow (after matplotlib's `viridis`).
pub fn viridis(value: f64) -> Colour {
    let stops = [RGBColor(68, 1, 84), RGBColor(59, 82, 139), RGBColor(33, 145, 140), RGBColor(94, 201, 98), RGBColor(253, 231, 37)];
    along(&stops, value)
}

/// A colour on the way from the first of some colours to the last, which lie evenly between 0 and 1.
pub fn along(stops: &[Colour], value: f64) -> Colour {
    let last = stops.len().saturating_sub(1);
    let place = value.clamp(0.0, 1.0) * last as f64;
    let before = (place as usize).min(last.saturating_sub(1));
    match stops.get(before + 1) {
        Some(&after) => between(stops[before], after, place - before as f64),
        None => stops.first().copied().unwrap_or(BLACK),
    }
}

fn between(from: Colour, to: Colour, way: f64) -> Colour {
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * way.clamp(0.0, 1.0)).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_begin_and_end_where_they_should() {
        assert_eq!([cool(0.0), cool(1.0), cool(0.5)], [RGBColor(0, 255, 255), RGBColor(255, 0, 255), RGBColor(128, 128, 255)]);
        assert_eq!(
            [-1.0, 0.0, 0.5, 1.0, 9.0].map(blue_white_red).map(|colour| (colour.0, colour.2)),
            [(0, 255), (0, 255), (255, 255), (255, 0), (255, 0)]
        );
        assert_eq!(
            [cool_warm(0.0), cool_warm(0.25), cool_warm(1.0)],
            [RGBColor(59, 76, 192), RGBColor(141, 176, 254), RGBColor(180, 4, 38)]
        );
        assert_eq!(viridis(0.0), RGBColor(68, 1, 84));
        assert_eq!(faded(BLACK, 0.2), RGBColor(204, 204, 204));
        assert_eq!([along(&[], 0.3), along(&[DARK[1]], 0.3)], [BLACK, DARK[1]]);
    }
}
