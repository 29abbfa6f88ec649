//! Series of samples, written short: `100x60 _x30 100..4000x10`.

/// Samples in one series.
pub const STEPS_MAX: usize = 1_000_000;

/// What comes at one step of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing comes.
    Nothing,
    /// A value, a level, a number of events, a number of things that succeeded.
    Value(f64),
    /// So many failed, of so many.
    Failed(u64, u64),
}

/// Reads a series: tokens parted by blanks, each one a step or, with `xN` behind it, N of them.
///
/// `_` is nothing; `4000` a value; `3/100` three failed of a hundred; `100..400x4` is 100 200 300 400.
///
/// # Errors
/// `(the token, what is wrong, what would be right)`.
pub fn parse(text: &str) -> Result<Vec<Step>, (String, String, String)> {
    let mut steps = Vec::new();
    for token in text.split_whitespace() {
        one(token, &mut steps).map_err(|(what, fix)| (token.to_owned(), what, fix))?;
        if steps.len() > STEPS_MAX {
            return Err((token.to_owned(), "too many samples".to_owned(), format!("keep to {STEPS_MAX} in one series")));
        }
    }
    if steps.is_empty() {
        return Err((String::new(), "no samples".to_owned(), "write for example \"100x60 _x30 4000x10\"".to_owned()));
    }
    Ok(steps)
}

fn one(token: &str, steps: &mut Vec<Step>) -> Result<(), (String, String)> {
    let (what, count) = match token.rsplit_once('x') {
        None => (token, 1),
        Some((what, count)) => {
            let count = count.parse::<usize>().ok().filter(|count| (1..=STEPS_MAX).contains(count));
            let fix = || format!("write how often as a whole number from 1 to {STEPS_MAX}, such as 100x60");
            (what, count.ok_or_else(|| ("not a number of repetitions".to_owned(), fix()))?)
        }
    };
    if what == "_" {
        steps.extend(std::iter::repeat_n(Step::Nothing, count));
    } else if let Some((failed, all)) = what.split_once('/') {
        let failed: Option<u64> = failed.parse().ok();
        let all: Option<u64> = all.parse().ok();
        let Some((failed, all)) = failed.zip(all).filter(|(failed, all)| failed <= all) else {
            return Err(("not failed/all".to_owned(), "write how many failed of how many, such as 3/100".to_owned()));
        };
        steps.extend(std::iter::repeat_n(Step::Failed(failed, all), count));
    } else if let Some((from, to)) = what.split_once("..") {
        let (from, to) = (number(from)?, number(to)?);
        let last = count.saturating_sub(1);
        if last == 0 {
            return Err(("a slope of one step".to_owned(), "say how many steps it has, such as 100..400x4".to_owned()));
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        steps.extend((0..count).map(|step| Step::Value(from + (to - from) * step as f64 / last as f64)));
    } else {
        steps.extend(std::iter::repeat_n(Step::Value(number(what)?), count));
    }
    Ok(())
}

fn number(text: &str) -> Result<f64, (String, String)> {
    let number: Option<f64> = text.parse().ok().filter(|number: &f64| number.is_finite());
    let fix = "write a number, failed/all, from..to, or _ for nothing, each with xN behind it for N of them";
    number.ok_or_else(|| ("not a sample".to_owned(), fix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_written_short() {
        let check = |text: &str, want: &[Step]| assert_eq!(parse(text).as_deref(), Ok(want), "{text}");
        check("100", &[Step::Value(100.0)]);
        check("100x2 _ 0.5", &[Step::Value(100.0), Step::Value(100.0), Step::Nothing, Step::Value(0.5)]);
        check("3/100x2", &[Step::Failed(3, 100), Step::Failed(3, 100)]);
        check("10..30x3", &[Step::Value(10.0), Step::Value(20.0), Step::Value(30.0)]);
        let bad = |text: &str, part: &str| {
            let (token, what, fix) = parse(text).unwrap_err();
            assert!(format!("{token}: {what}; {fix}").contains(part), "{text}: {token}: {what}; {fix}");
        };
        bad("", "no samples");
        bad("100 abc", "abc: not a sample");
        bad("100x0", "not a number of repetitions");
        bad("100xx", "not a number of repetitions");
        bad("5/3", "not failed/all");
        bad("1..2", "a slope of one step");
        bad("infx3", "not a sample");
        bad("1x1000000 1", "too many samples");
    }
}
