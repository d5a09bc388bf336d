//! Drawing: what a figure shows is said as panels of series; it becomes an SVG, a PNG, and the numbers that stand in it.

mod band;
mod colours;
mod figure;
mod layout;
mod picture;
mod ticks;

pub use colours::{BLACK, CLEARLY_APART, Colour, DARK, along, blue_white_red, cool, cool_warm, faded, viridis};
pub use figure::{Axis, Figure, Heat, Legend, Level, Look, Number, Panel, Series, Shape};
