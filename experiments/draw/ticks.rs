//! Where an axis has ticks, and what stands at them.

/// Round numbers between `from` and `to`, at least so many steps of 1, 2 or 5 times a power of ten, and what is written at each.
pub fn round(from: f64, to: f64, at_least: f64) -> Vec<(f64, String)> {
    let step = step(to - from, at_least);
    let first = (from / step - 1e-9).ceil() as i64;
    let places = (first..).map(|number| number as f64 * step).take_while(|&place| place <= to + 1e-9 * step);
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let largest = from.abs().max(to.abs());
    // A million steps would be no ticks.
    let text = |place: f64| if largest >= 1e3 { count(place) } else { format!("{place:.decimals$}") };
    places.take(100).map(|place| (place, text(place).replace('-', "−"))).collect()
}

/// Powers of ten between `from` and `to`.
pub fn powers(from: f64, to: f64) -> Vec<(f64, String)> {
    let (first, last) = (from.log10().ceil() as i32, to.log10().floor() as i32);
    let apart = ((last - first) / 6 + 1) as usize;
    (first..=last).step_by(apart).map(|power| (10_f64.powi(power), scientific(power))).collect()
}

/// The largest of 1, 2 and 5 times a power of ten of which at least so many fit into `span`.
pub fn step(span: f64, at_least: f64) -> f64 {
    let power = 10_f64.powf((span / at_least).log10().floor());
    [5.0, 2.0].into_iter().map(|times| times * power).find(|&step| span / step >= at_least - 1e-9).unwrap_or(power)
}

/// 200000 as 200k.
pub fn count(number: f64) -> String {
    // Steps like 0.1 million do not add up exactly.
    let short = |number: f64| format!("{}", (number * 1e6).round() / 1e6);
    match number.abs() {
        1e6.. => format!("{}M", short(number / 1e6)),
        1e3.. => format!("{}k", short(number / 1e3)),
        _ => short(number),
    }
}

/// 10⁻³.
fn scientific(power: i32) -> String {
    let raise = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
        _ => digit,
    };
    format!("10{}", power.to_string().chars().map(raise).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn axes_are_counted_in_round_numbers() {
        assert_eq!([600e3, 1e6, 3e4, 100.0].map(|to| step(to, 4.0)), [1e5, 2e5, 5e3, 20.0]);
        assert_eq!([0.0, 500.0, 1500.0, 2e5, 1.2e6].map(count), ["0", "500", "1.5k", "200k", "1.2M"]);
        assert_eq!(names(round(0.0, 4e5, 4.0)), ["0", "100k", "200k", "300k", "400k"]);
        assert_eq!(names(round(-0.05, 1.0, 4.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(names(round(-0.16, 0.16, 3.0)), ["−0.1", "0.0", "0.1"]);
        assert_eq!(names(round(1.0, 8.0, 6.0)), ["1", "2", "3", "4", "5", "6", "7", "8"]);
    }

    #[test]
    fn and_in_powers_of_ten() {
        assert_eq!(names(powers(1e-4, 2.0)), ["10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰"]);
        assert_eq!(names(powers(1.0, 1e12)), ["10⁰", "10³", "10⁶", "10⁹", "10¹²"]);
    }
}
