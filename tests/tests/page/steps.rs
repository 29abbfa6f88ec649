//! Steps of one test: one that fails does not hide the others.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt as _;
use spark_tests::browser::Browser;

/// What was run, and what of it failed.
pub struct Steps<'a> {
    browser: &'a Browser,
    failed: Vec<String>,
}

impl<'a> Steps<'a> {
    pub fn new(browser: &'a Browser) -> Self {
        Self { browser, failed: Vec::new() }
    }

    /// Runs a step; a panic in it is printed where it happens and counts as a failure. `SPARK_PAGE_STEP` runs only those whose
    /// name has it.
    pub async fn run(&mut self, name: &str, step: impl Future<Output = ()>) {
        if std::env::var("SPARK_PAGE_STEP").is_ok_and(|wanted| !name.contains(&wanted)) {
            return;
        }
        let start = Instant::now();
        println!("step: {name}");
        let word = if AssertUnwindSafe(step).catch_unwind().await.is_ok() {
            "ok"
        } else {
            self.failed.push(name.to_owned());
            self.browser.close_all().await;
            "FAILED"
        };
        println!("  {word} after {:.1} s: {name}", start.elapsed().as_secs_f64());
    }

    /// The end: fails when a step did.
    pub fn end(self) {
        assert!(self.failed.is_empty(), "{} step(s) failed, see above: {:#?}", self.failed.len(), self.failed);
    }
}
