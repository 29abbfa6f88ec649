//! Loading, and that every widget has something of this system to show.

use spark_tests::browser::Look;

use crate::stage::Stage;

/// Sections, and what in each must be there beyond its state: a JavaScript condition on `one`, its element.
const WIDGETS: [(&str, &str); 17] = [
    (
        "portfolio",
        "rows('portfolio') >= 4 && one.querySelectorAll('#donut path[data-key]').length >= 2 && shows('#donut-value', /\\$/)",
    ),
    ("alerts", "one.querySelectorAll('.alert').length >= 1"),
    ("orders", "rows('orders') >= 1 && shows('td[data-col=state]', /\\w/)"),
    ("positions", "rows('positions') >= 1 && shows('td[data-col=mark]', /\\d/)"),
    ("trading", "shows('#guard', /orders may pass/i) && shows('#guard', /agrees|differs|compared/i)"),
    ("prices", "rows('prices') >= 7 && shows('td[data-col=bid]', /\\d/) && shows('td[data-col=last]', /\\d/)"),
    ("bist", "rows('bist') >= 1 && shows('td[data-col=last]', /\\d/)"),
    ("rollout", "one.querySelector('#rollout-track li[aria-current=step]')?.innerText.match(/preview/i)"),
    ("model", "one.querySelector('#model-buckets svg') && one.querySelector('#model-reliability')"),
    ("backtests", "rows('backtests') >= 1 && one.querySelector('#equity svg path')?.getAttribute('d')?.length > 100"),
    ("strategies", "rows('strategies') >= 1 && shows('[data-table=strategies]', /cross-1/)"),
    (
        "limits",
        "one.querySelector('#chart-1 svg path[d]') && one.querySelector('#chart-2 svg path[d]') && one.querySelector('line.limit')",
    ),
    ("processes", "rows('processes') >= 15 && shows('td[data-col=state]', /running/) && shows('td[data-col=memory]', /MiB/)"),
    ("feeds", "rows('feeds') >= 2 && shows('td[data-col=state]', /live/)"),
    ("parked", "rows('parked') >= 1 && shows('#parked-count', /\\d/)"),
    ("reports", "one.innerText.trim().length > 0"),
    ("actions", "one.querySelectorAll('#actions li').length >= 1"),
];

/// The page is opened and everything on it becomes live; the figures of the load are printed.
pub async fn widgets(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    visit.until("something was painted", "performance.getEntriesByName('first-contentful-paint').length === 1").await;
    let figures = visit
        .evaluate(
            "(() => { const all = performance.getEntriesByType('resource');
               const round = (ms) => Math.round(ms);
               return `first contentful paint ${round(performance.getEntriesByName('first-contentful-paint')[0].startTime)} ms, `
                 + `live after ${round(spark_test.live)} ms, ${all.length + 1} files`; })()",
        )
        .await;
    println!("  {}", figures.as_str().unwrap_or_default());
    for (name, condition) in WIDGETS {
        let ready = format!(
            "(() => {{ const one = document.querySelector('section[data-section={name}]');
               if (!one) return 'there is no such section';
               const rows = (table) => [...one.querySelectorAll(`table[data-table=${{table}}] tbody tr`)].filter((row) => row.offsetParent).length;
               const shows = (selector, words) => [...one.querySelectorAll(selector)].some((found) => words.test(found.innerText));
               if (one.dataset.state !== 'live') return `data-state=${{one.dataset.state}}: ${{one.innerText.slice(0, 300)}}`;
               return Boolean({condition}) || one.innerText.slice(0, 600); }})()"
        );
        visit.until(&format!("the section {name} shows live data"), &ready).await;
    }
    facts(&visit).await;
    moving(&visit).await;
    visit.end().await;
}

/// The bar at the top.
async fn facts(visit: &crate::stage::Visit<'_>) {
    visit
        .until(
            "the status says DEMO",
            "/DEMO|DEGRADED/.test(document.querySelector('#status').innerText) || document.querySelector('#status').innerText",
        )
        .await;
    for (id, words) in [
        ("total", "^\\$[\\d,.]+$"),
        ("alerts", "^\\d+$"),
        ("orders", "^\\d+$"),
        ("processes", "^\\d+ \\/ \\d+$"),
        ("parked", "^\\d+$"),
    ] {
        let shown = format!(
            "(() => {{ const shown = document.querySelector('#fact-{id}').innerText.trim(); return /{words}/.test(shown) || shown; }})()"
        );
        visit.until(&format!("the bar has {id}"), &shown).await;
    }
}

/// It is live, not a picture: prices change, and sections say when they were updated.
async fn moving(visit: &crate::stage::Visit<'_>) {
    visit.evaluate("window.before = document.querySelector('table[data-table=prices] tbody').innerText").await;
    visit.until("prices move", "document.querySelector('table[data-table=prices] tbody').innerText !== before || before").await;
    for name in ["prices", "portfolio", "processes"] {
        let updated = format!("Number(document.querySelector('section[data-section={name}]').dataset.updated)");
        let before = visit.evaluate(&updated).await.as_f64().unwrap_or_default();
        assert!(before > 1e12, "section {name}: data-updated is not in ms since the epoch: {before}");
        visit.until(&format!("the section {name} is updated again"), &format!("{updated} > {before} || {updated}")).await;
    }
}
