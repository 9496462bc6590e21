//! Round numbers for axes.

/// An axis from 0.
pub(super) struct Axis {
    /// The value at its end.
    pub end: f64,
    step: f64,
}

impl Axis {
    /// An axis that ends at the first tick from `most` on, with about `ticks` ticks.
    pub(super) fn over(most: f64, ticks: u32) -> Self {
        let axis = Self::to(most, ticks);
        Self {
            end: (axis.end / axis.step - 1e-9).ceil() * axis.step,
            ..axis
        }
    }

    /// An axis that ends at `most` itself.
    pub(super) fn to(most: f64, ticks: u32) -> Self {
        let end = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let rough = end / f64::from(ticks);
        let power = 10f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
        let step = factors
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        Self { end, step }
    }

    /// Where its ticks are, and what stands there.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let count = (self.end / self.step + 1e-9).floor() as u32;
        let tick = |number| {
            let value = f64::from(number) * self.step;
            (value, number_text(value, self.step))
        };
        (0..=count).map(tick).collect()
    }
}

/// A number with as many places as steps of this size need.
fn number_text(value: f64, step: f64) -> String {
    if step.fract() == 0.0 {
        return crate::grouped(value.round() as u64);
    }
    // Steps are 1, 2, 2.5 or 5 times a power of ten: two digits tell them apart.
    let places = (1.0 - step.log10().floor()).max(1.0) as usize;
    let text = format!("{value:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn an_axis_may_end_between_ticks() {
        let axis = Axis::to(163.0, 5);
        let last = axis.ticks().pop();
        assert_eq!((axis.end, last), (163.0, Some((150.0, "150".to_owned()))));
    }

    #[test]
    fn ticks_are_round_and_reach_the_end() {
        let labels = |most, ticks| -> Vec<String> {
            let axis = Axis::over(most, ticks);
            axis.ticks().into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(43.2, 5), ["0", "10", "20", "30", "40", "50"]);
        assert_eq!(
            labels(1_000_000.0, 4),
            ["0", "250,000", "500,000", "750,000", "1,000,000"]
        );
        assert_eq!(labels(0.9, 4), ["0", "0.25", "0.5", "0.75", "1"]);
        assert_eq!(labels(8.0, 4), ["0", "2", "4", "6", "8"]);
        assert_eq!(labels(9.0, 4), ["0", "2.5", "5", "7.5", "10"]);
    }
}
