//! The page as people use it: a real headless Chromium on a whole running system. Needs the Debian package `chromium` and, for
//! axe-core, npm; so all of this is behind the feature `debian`, which .ci/run switches on. `SPARK_SCREENSHOTS=DIR` keeps
//! pictures of it.
//!
//! One system and one browser serve all steps, each on a page of its own. At the end of each step the page must not have
//! complained in the console, asked anybody but its gateway, or tried what its policy refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]
#![allow(clippy::print_stdout, reason = "measured figures are printed")]

mod arrange;
mod axe;
mod command;
mod document;
mod fault;
mod keyboard;
mod load;
mod looks;
mod pictures;
mod restart;
mod shifts;
mod signing;
mod stage;
mod steps;

use stage::Stage;
use steps::Steps;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_in_a_real_browser() {
    let stage = Stage::start().await;
    let mut steps = Steps::new(&stage.browser);
    steps.run("loads, and every widget shows live data", load::widgets(&stage)).await;
    steps.run("nothing moves while it is updated", shifts::none(&stage)).await;
    steps.run("tabs show one exchange each", arrange::tabs(&stage)).await;
    steps.run("tables are sorted both ways", arrange::sort(&stage)).await;
    steps.run("what was chosen is remembered over a reload", arrange::remembered(&stage)).await;
    steps.run("dark and light, by the system's preference and by choice", looks::schemes(&stage)).await;
    steps.run("360 px and 3840 px show everything", looks::sizes(&stage)).await;
    steps.run("the keyboard reaches everything and dialogs give the focus back", keyboard::alone(&stage)).await;
    steps.run("the kill switch asks first and then stops trading", command::kill_switch(&stage)).await;
    steps.run("a fault becomes an alert on the page within 2 s of the ledger", fault::within_two_seconds(&stage)).await;
    steps.run("an alert is silenced from the page", command::silence(&stage)).await;
    steps.run("axe-core finds nothing serious", axe::nothing_serious(&stage)).await;
    steps.run("the API's reference is served", document::reference(&stage)).await;
    steps.run("it tells that the gateway is away, and recovers by itself", restart::recovers(&stage)).await;
    if let Some(folder) = std::env::var_os("SPARK_SCREENSHOTS") {
        steps.run("pictures", pictures::take(&stage, folder.as_ref())).await;
    }
    // The last one: from here on the gateway lets nobody read without a token.
    steps.run("a viewer signs in where reading needs a token", signing::viewer(&stage)).await;
    steps.end();
}
