//! Nothing on the page moves by itself.

use std::time::Duration;

use spark_tests::browser::Look;

use crate::stage::Stage;

/// How long live updates are watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What may add up in this time: a rounding, no movement that anybody sees.
const SHIFT_MAX: f64 = 0.01;

/// Ten seconds of updates move nothing: layout shifts without input, as browsers measure them.
pub async fn none(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let (loading, moved) = visit.shifts(0.0).await;
    println!("  layout shift while loading {loading:.4}{moved}");
    visit.evaluate("window.before = { at: performance.now(), updates: 0 }; new MutationObserver((list) => { before.updates += list.length; }).observe(document.body, { subtree: true, childList: true, characterData: true })").await;
    let since = visit.evaluate("before.at").await.as_f64().unwrap();
    // Time itself is what is waited for here: updates of ten seconds.
    let over = format!("performance.now() - before.at > {} || performance.now() - before.at", WATCHED.as_millis());
    visit.until_within(WATCHED * 6, "ten seconds of updates", &over).await;
    let updates = visit.evaluate("before.updates").await.as_u64().unwrap_or_default();
    assert!(updates > 100, "so few updates say nothing: {updates}");
    let (sum, moved) = visit.shifts(since).await;
    println!("  layout shift over {WATCHED:?} and {updates} changes {sum:.5}{moved}");
    assert!(sum < SHIFT_MAX, "updates move the page: layout shift {sum:.4} in {WATCHED:?}, from what to what (x,y size):{moved}");
    visit.end().await;
}
