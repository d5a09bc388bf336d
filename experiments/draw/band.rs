//! Some rows of a picture as pixels. A picture is drawn once for each band, which takes a fraction of the memory.

use plotters_backend::{BackendColor, BackendCoord, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use std::ops::Range;

/// Rows of a picture of some size; whatever is drawn elsewhere is left out.
pub(super) struct Band<'p> {
    size: (u32, u32),
    rows: Range<u32>,
    pixels: &'p mut [u8],
}

impl<'p> Band<'p> {
    /// Pixels, row by row, red, green, blue; they begin white.
    pub fn new(size: (u32, u32), rows: Range<u32>, pixels: &'p mut [u8]) -> Self {
        pixels.fill(255);
        Self { size, rows, pixels }
    }
}

impl DrawingBackend for Band<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && x < self.size.0
            && self.rows.contains(&y)
        {
            let first = 3 * ((y - self.rows.start) * self.size.0 + x) as usize;
            let (red, green, blue) = colour.rgb;
            for (own, new) in self.pixels[first..first + 3].iter_mut().zip([red, green, blue]) {
                *own = (f64::from(*own) + colour.alpha * (f64::from(new) - f64::from(*own))).round() as u8;
            }
        }
        Ok(())
    }
}
