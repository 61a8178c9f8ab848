//! What was found out about running daemons: one number with its bounds, or why there is none.

use std::time::Duration;

use serde_json::{Value, json};

/// One number.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The measure's name, as `--only` takes it.
    pub(crate) measure: &'static str,
    /// What the number says, in words.
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
    /// The bounds are the least that is good, not the most.
    pub(crate) rises: bool,
    /// The number, or why it could not be had.
    pub(crate) value: Result<f64, String>,
}

impl Finding {
    pub(crate) fn new(measure: &'static str, what: &str, unit: &'static str, value: f64) -> Self {
        Self {
            measure,
            what: what.to_owned(),
            unit,
            must: None,
            aim: None,
            rises: false,
            value: Ok(value),
        }
    }

    pub(crate) fn skipped(measure: &'static str, what: &str, why: &str) -> Self {
        Self {
            measure,
            what: what.to_owned(),
            unit: "",
            must: None,
            aim: None,
            rises: false,
            value: Err(why.to_owned()),
        }
    }

    pub(crate) fn must(mut self, must: f64) -> Self {
        self.must = Some(must);
        self
    }

    /// The same for a number that is better the greater it is.
    pub(crate) fn at_least(mut self, must: f64) -> Self {
        self.must = Some(must);
        self.rises = true;
        self
    }

    pub(crate) fn aim(mut self, aim: f64) -> Self {
        self.aim = Some(aim);
        self
    }

    fn verdict(&self) -> &'static str {
        let Ok(value) = self.value else {
            return "skipped";
        };
        // Rounded as it is printed.
        let value = (value * 100.0).round() / 100.0;
        let keeps = |bound: f64| {
            if self.rises {
                value >= bound
            } else {
                value <= bound
            }
        };
        match (self.must, self.aim) {
            (None, _) => "no bound",
            (Some(must), _) if !keeps(must) => "MISSED",
            (_, Some(aim)) if keeps(aim) => "aim met",
            _ => "met",
        }
    }

    /// A row of the table.
    pub(crate) fn row(&self) -> String {
        let bound = |bound: Option<f64>| bound.map_or("-".to_owned(), |b| self.shown(b));
        let value = match &self.value {
            Ok(value) => self.shown(*value),
            Err(why) => format!("skipped: {why}"),
        };
        let (what, must, aim) = (&self.what, bound(self.must), bound(self.aim));
        format!("| {what} | {must} | {aim} | {value} | {} |", self.verdict())
    }

    fn shown(&self, value: f64) -> String {
        let decimals = if value >= 100.0 { 0 } else { 2 };
        format!("{value:.decimals$} {}", self.unit)
            .trim_end()
            .to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "measure": self.measure,
            "what": self.what,
            "unit": self.unit,
            "value": self.value.as_ref().ok(),
            "skipped": self.value.as_ref().err(),
            "must": self.must,
            "aim": self.aim,
            "verdict": self.verdict(),
        })
    }
}

/// The head of the table of findings.
pub(crate) const HEAD: &str =
    "| types, and running daemons | must | aim | measured | |\n|---|---|---|---|---|";

/// The value below which `percent` of all lie, in milliseconds.
pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times
        .get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(value: f64) -> &'static str {
        let finding = Finding::new("strong", "something", "ms", value);
        finding.must(1.3).aim(0.9).verdict()
    }

    #[test]
    fn a_bound_is_met_as_it_is_printed_and_never_by_no_number() {
        assert_eq!(verdict(0.9), "aim met");
        assert_eq!(verdict(1.304), "met");
        assert_eq!(verdict(1.31), "MISSED");
        assert_eq!(verdict(percentile(&mut [], 50)), "MISSED");
        let rate = |value| {
            Finding::new("strong", "a rate", "", value)
                .at_least(1.0)
                .aim(3.0)
        };
        assert_eq!(rate(0.99).verdict(), "MISSED");
        assert_eq!(rate(1.0).verdict(), "met");
        assert_eq!(rate(3.0).verdict(), "aim met");
        assert_eq!(rate(f64::NAN).verdict(), "MISSED");
        assert_eq!(Finding::skipped("strong", "x", "etcd").verdict(), "skipped");
    }

    #[test]
    fn percentiles_do_not_depend_on_the_order_of_arrival() {
        let mut times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert!((percentile(&mut times, 50) - 101.0).abs() < 1e-9);
        assert!((percentile(&mut times, 99) - 199.0).abs() < 1e-9);
        assert!((percentile(&mut times, 100) - 200.0).abs() < 1e-9);
    }
}
